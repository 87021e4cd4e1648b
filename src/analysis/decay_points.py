"""What weight decay does to the phase that training ends in: a point for each decay, and what theory expects of it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.order_chaos.guideline import decay_rate, edge_decay, saturation, standard_error


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
    """λ* (`edge_decay`) of each option: the mean over its runs without decay that have a slope above 0, and its error.

    The error is the standard error over runs; of one run, that of its fit.
    """
    guides = {}
    for option, rows in _growing(runs).groupby("option", sort=False):
        decays = np.array([edge_decay(row["slope"], **_law(row)) for _, row in rows.iterrows()])
        of_fit = float(decays[0] * rows["slope_error"].iloc[0] / rows["slope"].iloc[0])
        guides[str(option)] = (float(decays.mean()), standard_error(decays.tolist()) if len(decays) > 1 else of_fit)
    return guides


def expected_J(runs: pd.DataFrame, decays: Iterable[float]) -> NDArray[np.float64]:
    """J after the epochs of the longest run, where J² follows `saturation` from C of the line J² = A t + C.

    A and C are means over the runs without decay: C is what the fast first part of training adds at once.

    Args:
        runs: Of one option, one of them without decay.
        decays: λ, half of PyTorch's weight_decay.
    """
    fitted, epochs = _growing(runs), float(runs["epochs"].max())
    A, C, law = fitted["slope"].mean(), fitted["intercept"].mean(), _law(fitted.iloc[0])
    J2 = [saturation(epochs, start=C, A=A, rate=decay_rate(float(decay), **law)) for decay in decays]
    return np.sqrt(np.array(J2, dtype=np.float64))


def _growing(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[(runs["weight_decay"] == 0) & (runs["slope"] > 0)]


def _law(row: "pd.Series[Any]") -> dict[str, Any]:
    """The settings of a run that `start_training.order_chaos.guideline` needs."""
    batch = int(row["batch"])
    samples = round(row["steps_per_epoch"] * batch)
    return {"eta": float(row["eta"]), "alpha": float(row["alpha"]), "batch": batch, "samples": samples}
