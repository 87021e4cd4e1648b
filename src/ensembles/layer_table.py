"""A simulation as a table: what each layer's lengths do over nets, beside what theory says of them."""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.ensembles.estimate import (
    Estimate,
    dead_share,
    log_layer_variance,
    log_mean,
    log_mean_by_ratios,
    log_moment_ratio,
    log_moment_ratio_by_ratios,
    log_variance,
)
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw

Array = NDArray[np.float64]
Law = FullyConnectedLaw | ResidualLaw | ConvolutionalLaw | ResidualConvolutionalLaw
BAND = (0.05, 0.95)
LAW_NETS = 4000  # sampled from the exact law: its quantiles are then exact to about 1% of a net's spread


def layer_table(log_lengths: Array, names: list[str], law: Law | None = None) -> pd.DataFrame:
    """A row for each layer 0 … d of log_lengths (nets, d + 1).

    log_mean, log_moment_ratio, log_variance, log_layer_variance, each with `_error` (one standard error): see
    src/ensembles/estimate.py; all lengths are relative to M_0. low, median, high: quantiles over living nets. dead:
    share of nets. Where `law` is known, columns in `_theory` predict: the mean, the bounds `_low` and `_high` of the
    moment ratio, equal where it is exact; and beta, or sum_of_scales, of the layers so far. Where weights are Gaussian,
    columns in `_law` are the same estimates from LAW_NETS nets of the exact law.
    """
    table = pd.DataFrame({"layer": range(len(names)), "name": names})
    table = table.join(_measured(log_lengths, by_ratios=is_product(law)))
    if law is None:
        return table
    table = table.join(_predicted(law, float(np.log(np.exp(log_lengths[:, 0]).mean()))))
    if isinstance(law, ConvolutionalLaw | ResidualConvolutionalLaw):  # whose positions share their weights
        return table
    if not law.gaussian or (isinstance(law, FullyConnectedLaw) and law.dropout):
        return table
    exact = sample_gaussian_law(
        law, LAW_NETS, generator=np.random.default_rng(0), log_input_length=float(log_lengths[:, 0].mean())
    )
    return table.join(_measured(exact, by_ratios=is_product(law)).add_suffix("_law"))


def is_product(law: Law | None) -> bool:
    """Whether lengths are products of independent ratios, so that means are best estimated from these."""
    return isinstance(law, FullyConnectedLaw) and not law.bias_variances.any()


def _measured(log_lengths: Array, *, by_ratios: bool) -> pd.DataFrame:
    mean, moment_ratio = (log_mean_by_ratios, log_moment_ratio_by_ratios) if by_ratios else (log_mean, log_moment_ratio)
    columns = _estimate("log_mean", mean(log_lengths)) | _estimate("log_moment_ratio", moment_ratio(log_lengths))
    columns |= _estimate("log_variance", log_variance(log_lengths))
    columns |= _estimate("log_layer_variance", log_layer_variance(log_lengths))
    living = np.where(np.isfinite(log_lengths), log_lengths - log_lengths[:, :1], np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # a layer dead in every net
        quantiles = np.nanquantile(living, (BAND[0], 0.5, BAND[1]), axis=0)
    columns |= dict(zip(("low", "median", "high"), quantiles, strict=True))
    return pd.DataFrame(columns | {"dead": dead_share(log_lengths)})


def _estimate(name: str, estimate: Estimate) -> dict[str, Array]:
    return {name: estimate.value, f"{name}_error": estimate.error}


def _predicted(law: Law, log_input_length: float) -> pd.DataFrame:
    means = law.log_mean_length(log_input_length) - log_input_length
    columns = {"log_mean_theory": np.concatenate([[0.0], means])}
    if (bounds := law.log_moment_ratio(log_input_length)) is not None:
        for end, values in zip(("low", "high"), bounds, strict=True):
            columns[f"log_moment_ratio_{end}_theory"] = np.concatenate([[0.0], values])
    if isinstance(law, FullyConnectedLaw):
        columns["beta"] = np.concatenate([[0.0], np.cumsum(1 / law.widths)])
    elif not isinstance(law, ConvolutionalLaw):
        columns["sum_of_scales"] = np.concatenate([[0.0], np.cumsum(law.scales)])
    return pd.DataFrame(columns)
