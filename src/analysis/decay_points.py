"""What weight decay does to the phase that training ends in: a point for each decay, and what theory expects of it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.order_chaos.weight_decay_guideline import Descent, saturation
from start_training.standard_error import mean_and_error


def decay_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over the runs of each option and decay λ = weight_decay / 2, and their standard errors, by decay.

    Args:
        runs: Of `phase_slopes`, with the column option.

    Returns:
        Columns option; decay; J, final_loss, lowest_loss, accuracy, each with its X_error (NaN for one run); runs;
        epochs, those of the longest run.

    Raises:
        ValueError: no run has a weight decay.
    """
    known = runs[runs["weight_decay"].notna()].rename(columns={"final_accuracy": "accuracy"})
    if known.empty:
        raise ValueError("table: no run has an optimizer.weight_decay")
    known = known.assign(J=np.sqrt(known["final_J2"]), decay=known["weight_decay"] / 2)
    groups = known.groupby(["option", "decay"], sort=False)
    names = ["J", "final_loss", "lowest_loss", "accuracy"]
    sizes = groups.agg(runs=("J", "size"), epochs=("epochs", "max"))
    points = pd.concat([groups[names].mean(), groups[names].sem().add_suffix("_error"), sizes], axis=1)
    return points.reset_index().sort_values("decay", kind="stable", ignore_index=True)


def edge_decays(runs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """λ* of each option: mean over its runs without decay that have a slope above 0, and its error.

    The error is the standard error over runs; of one run, that of its fit.
    """
    found = {}
    for option, each in _growing(runs).groupby("option", sort=False):
        mean, error = mean_and_error([_descent(row).lambda_star(row["slope"]) for _, row in each.iterrows()])
        of_fit = mean * each["slope_error"].iloc[0] / each["slope"].iloc[0]
        found[str(option)] = (float(mean), float(error if len(each) > 1 else of_fit))
    return found


def expected_J(runs: pd.DataFrame, decays: Iterable[float]) -> NDArray[np.float64]:
    """J after the epochs of the longest run, where J² follows `saturation` from C of the line J² = A t + C.

    A and C are means over the runs without decay: C is what the fast first part of training adds at once.

    Args:
        runs: Of one option, one of them without decay.
        decays: λ, half of PyTorch's weight_decay.
    """
    fitted, epochs = _growing(runs), float(runs["epochs"].max())
    A, C, descent = fitted["slope"].mean(), fitted["intercept"].mean(), _descent(fitted.iloc[0])
    J2 = [saturation(epochs, start=C, A=A, rate=descent.decay_rate(2 * float(decay))) for decay in decays]
    return np.sqrt(np.array(J2, dtype=np.float64))


def _growing(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[(runs["weight_decay"] == 0) & (runs["slope"] > 0)]


def _descent(row: "pd.Series[Any]") -> Descent:
    batch = int(row["batch"])
    samples = round(row["steps_per_epoch"] * batch)
    return Descent(float(row["eta"]), float(row["alpha"]), batch, samples)
