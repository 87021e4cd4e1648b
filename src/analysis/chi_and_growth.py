"""log χ, computed from the weights, and the measured growth rate of activation lengths, at each step of training."""

import numpy as np
import pandas as pd

from start_training.theory.activation import ACTIVATIONS
from start_training.theory.gaussian import gaussian_nodes

RATES = ["log_chi", "log_growth"]


def mean_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Compute log_chi and log_growth of each run and step, averaged over the later half of the layers.

    log_chi is the logarithm of chi = J² E[φ′(√q z)²] at the measured q = J² M_{l−1} + Var b, and log_growth is
    log(M_l / M_{l−1}) of the mean lengths; both are in nats per layer.

    Args:
        table: Result of `sweep_curves` with kind `growth`, and a column option that names the curve of each row.

    Returns:
        One row for each run and step; columns directory, configuration, option, activation, step, final_accuracy,
        log_chi, log_growth.

    Raises:
        ValueError: no row of the table has an activation from `ACTIVATIONS` and finite lengths above 0.
    """
    rows = table[table["activation"].isin(ACTIVATIONS)] if "activation" in table else table[:0]
    lengths = rows.reindex(columns=["length_before", "length"]).astype(float)
    rows = rows[(lengths.gt(0) & lengths.lt(np.inf)).all(axis=1)]
    if rows.empty:
        raise ValueError(
            f"table: no row has an activation from {', '.join(ACTIVATIONS)} and finite lengths above 0; "
            "train with callbacks=phase_and_lengths"
        )
    rows = pd.concat([_with_chi(layers, str(name)) for name, layers in rows.groupby("activation", sort=False)])
    rows = rows.assign(log_growth=np.log(rows["length"] / rows["length_before"]))
    later = rows["layer"] >= rows.groupby("directory")["layer"].transform("nunique") // 2
    keys = ["directory", "configuration", "option", "activation", "step", "final_accuracy"]
    groups = rows[later].sort_values("step", kind="stable").groupby(keys, sort=False, dropna=False)
    return groups[RATES].mean().reset_index()


def rates_over_seeds(rates: pd.DataFrame) -> pd.DataFrame:
    """Average the result of `mean_rates` over runs, for each activation, option and step.

    Returns:
        Columns activation, option, step; log_chi and log_growth; their standard errors log_chi_error and
        log_growth_error (NaN for one run); runs, the number of runs.
    """
    groups = rates.groupby(["activation", "option", "step"], sort=False)
    errors = groups[RATES].sem().add_suffix("_error")
    return pd.concat([groups[RATES].mean(), errors, groups.size().rename("runs")], axis=1).reset_index()


def _with_chi(rows: pd.DataFrame, activation: str) -> pd.DataFrame:
    J2 = rows["J2"].to_numpy(float)
    q = J2 * rows["length_before"].to_numpy(float) + rows["bias_variance"].to_numpy(float)
    x, weights = gaussian_nodes(0.0, np.sqrt(q))
    return rows.assign(log_chi=np.log(J2 * (weights * ACTIVATIONS[activation].derivative(x) ** 2).sum(-1)))
