"""A table of the lengths of an ensemble: estimates for each layer, and predictions of theory."""

import warnings

import numpy as np
import pandas as pd

from start_training.ensembles.estimate import (
    dead_share,
    log_layer_variance,
    log_mean,
    log_mean_by_ratios,
    log_moment_ratio,
    log_moment_ratio_by_ratios,
    log_variance,
)
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.ensembles.scaled import Array
from start_training.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw

Law = FullyConnectedLaw | ResidualLaw | ConvolutionalLaw | ResidualConvolutionalLaw
BAND = (0.05, 0.95)
LAW_NETS = 4000  # nets sampled from the exact law; errors of quantiles are about 1% of the spread over nets


def layer_table(log_lengths: Array, names: list[str], law: Law | None = None) -> pd.DataFrame:
    """Return a table of estimates for each of layers 0 … d of an ensemble, with predictions if its law is known.

    Args:
        log_lengths: log M_0 … log M_d of each net, shape (nets, d + 1).
        names: Names of the d + 1 layers.
        law: Law of these nets, or None if unknown.

    Returns:
        A row per layer, with lengths relative to M_0, in these columns:

        - `layer`, `name`: number and name of the layer.
        - `log_mean`, `log_moment_ratio`, `log_variance`, `log_layer_variance`: see the module `estimate`. For each of
          them there is a column with the suffix `_error`, its standard error.
        - `low`, `median`, `high`: 5%, 50% and 95% quantiles of log M_j / M_0 over living nets.
        - `dead`: fraction of dead nets.
        - with a law: `log_mean_theory`; `log_moment_ratio_low_theory` and `log_moment_ratio_high_theory`, bounds that
          are equal if the ratio is known exactly; and `beta` or `sum_of_scales` of layers 1 … j.
        - with a law of Gaussian weights: the same estimates with the suffix `_law`, from `LAW_NETS` nets that are
          sampled from the exact law.
    """
    # Without biases the ratios are independent of earlier layers, and their product is M_j / M_0.
    by_ratios = isinstance(law, FullyConnectedLaw) and not law.bias_variances.any()
    table = pd.DataFrame({"layer": range(len(names)), "name": names}).join(_measured(log_lengths, by_ratios=by_ratios))
    if law is None:
        return table
    # Biases add a term in 1 / M_0 to E[M_j / M_0], so that inputs of different lengths count by their harmonic mean.
    inverse = np.exp(-log_lengths[np.isfinite(log_lengths[:, 0]), 0]).mean()
    table = table.join(_predicted(law, -float(np.log(inverse))))
    # The exact law of a convolutional net is not known, since the positions of a convolution share their weights.
    if isinstance(law, ConvolutionalLaw | ResidualConvolutionalLaw) or not law.gaussian:
        return table
    if isinstance(law, FullyConnectedLaw) and law.dropout:
        return table
    exact = sample_gaussian_law(
        law, LAW_NETS, generator=np.random.default_rng(0), log_input_length=float(log_lengths[:, 0].mean())
    )
    return table.join(_measured(exact, by_ratios=by_ratios).add_suffix("_law"))


def _measured(log_lengths: Array, *, by_ratios: bool) -> pd.DataFrame:
    estimates = {
        "log_mean": log_mean_by_ratios if by_ratios else log_mean,
        "log_moment_ratio": log_moment_ratio_by_ratios if by_ratios else log_moment_ratio,
        "log_variance": log_variance,
        "log_layer_variance": log_layer_variance,
    }
    columns = {}
    for name, estimate in estimates.items():
        columns[name], columns[f"{name}_error"] = estimate(log_lengths)
    living = np.where(np.isfinite(log_lengths), log_lengths - log_lengths[:, :1], np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # a layer may be dead in every net
        columns["low"], columns["median"], columns["high"] = np.nanquantile(living, (BAND[0], 0.5, BAND[1]), axis=0)
    return pd.DataFrame(columns | {"dead": dead_share(log_lengths)})


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
