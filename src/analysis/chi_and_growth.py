"""What weights say of the growth of lengths and gradients beside the growth of lengths, in the course of training."""

import numpy as np
import pandas as pd

from start_training.theory.activation import ACTIVATIONS
from start_training.theory.gaussian import gaussian_nodes

RATES = ["log_chi", "log_growth"]


def mean_rates(table: pd.DataFrame) -> pd.DataFrame:
    """log_chi and log_growth, means over the later half of a net's layers; a row for each run and step.

    log_chi is the logarithm of chi = J² E[φ′(√q z)²] at the measured q = J² M_{l−1} + Var b, and log_growth is
    log(M_l / M_{l−1}) of mean lengths; both in nats per layer.

    Args:
        table: Of `sweep_curves`, kind growth, with the column option.

    Returns:
        Columns directory, configuration, option, activation, step, final_accuracy, log_chi, log_growth.

    Raises:
        ValueError: the table has no layer of a known activation with finite lengths above 0.
    """
    rows = table[table["activation"].isin(ACTIVATIONS)] if "activation" in table else table[:0]
    lengths = rows.reindex(columns=["length_before", "length"]).astype(float)
    rows = rows[(lengths.gt(0) & lengths.lt(np.inf)).all(axis=1)]
    if rows.empty:
        raise ValueError("table: holds no layers of a known activation with both a phase and lengths")
    rows = pd.concat([_with_chi(layers, str(name)) for name, layers in rows.groupby("activation", sort=False)])
    rows = rows.assign(log_growth=np.log(rows["length"] / rows["length_before"]))
    later = rows["layer"] >= rows.groupby("directory")["layer"].transform("nunique") // 2
    keys = ["directory", "configuration", "option", "activation", "step", "final_accuracy"]
    groups = rows[later].sort_values("step", kind="stable").groupby(keys, sort=False, dropna=False)
    return groups[RATES].mean().reset_index()


def rates_over_seeds(rates: pd.DataFrame) -> pd.DataFrame:
    """A row for each activation, option and step of `mean_rates`: means, X_error, their standard errors, and runs."""
    groups = rates.groupby(["activation", "option", "step"], sort=False)
    errors = groups[RATES].sem().add_suffix("_error")
    return pd.concat([groups[RATES].mean(), errors, groups.size().rename("runs")], axis=1).reset_index()


def _with_chi(rows: pd.DataFrame, activation: str) -> pd.DataFrame:
    J2 = rows["J2"].to_numpy(float)
    q = J2 * rows["length_before"].to_numpy(float) + rows["bias_variance"].to_numpy(float)
    x, weights = gaussian_nodes(0.0, np.sqrt(q))
    return rows.assign(log_chi=np.log(J2 * (weights * ACTIVATIONS[activation].derivative(x) ** 2).sum(-1)))
