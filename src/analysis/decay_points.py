"""J, test loss and accuracy at the end of training for each weight decay, with λ* and the J that theory predicts."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.order_chaos.weight_decay_guideline import Descent, saturation
from start_training.standard_error import mean_and_error


def decay_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Average J, losses and accuracy over the runs of each option and decay λ = weight_decay / 2.

    Args:
        runs: Result of `phase_slopes`, with a column option that names the curve of each run.

    Returns:
        One row for each option and decay, sorted by decay. Columns option; decay, which is λ; the means J, final_loss,
        lowest_loss and accuracy, and their standard errors J_error, … (NaN for one run); runs, the number of runs;
        epochs, the length of the longest run.

    Raises:
        ValueError: no run has a value in the column weight_decay.
    """
    known = runs[runs["weight_decay"].notna()].rename(columns={"final_accuracy": "accuracy"})
    if known.empty:
        raise ValueError("table: no run has a number as optimizer.weight_decay; use an optimizer with weight_decay")
    known = known.assign(J=np.sqrt(known["final_J2"]), decay=known["weight_decay"] / 2)
    groups = known.groupby(["option", "decay"], sort=False)
    names = ["J", "final_loss", "lowest_loss", "accuracy"]
    sizes = groups.agg(runs=("J", "size"), epochs=("epochs", "max"))
    points = pd.concat([groups[names].mean(), groups[names].sem().add_suffix("_error"), sizes], axis=1)
    return points.reset_index().sort_values("decay", kind="stable", ignore_index=True)


def lambda_stars(runs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Estimate λ*, the decay with which J² settles at 1, for each option.

    λ* is `Descent.lambda_star` of the fitted slope, averaged over the runs with weight decay 0 and a slope above 0.

    Args:
        runs: Result of `phase_slopes`, with a column option that names the curve of each run.

    Returns:
        For each option that has such runs, λ* and its error: the standard error over runs, or for a single run the
        error that follows from the standard error of its fit.
    """
    estimates = {}
    for option, fits in _growing(runs).groupby("option", sort=False):
        mean, error = mean_and_error([_descent(fit).lambda_star(fit["slope"]) for _, fit in fits.iterrows()])
        fit_error = mean * fits["slope_error"].iloc[0] / fits["slope"].iloc[0]
        estimates[str(option)] = (float(mean), float(error if len(fits) > 1 else fit_error))
    return estimates


def expected_J(runs: pd.DataFrame, decays: Iterable[float]) -> NDArray[np.float64]:
    """Predict J at the end of the longest run for other weight decays.

    J² follows `saturation` from start = C, where J² = A t + C is the line fitted to runs without weight decay; A and C
    are means over these runs. Starting from C takes the fast first part of training into account.

    Args:
        runs: Result of `phase_slopes` for one option; at least one run has weight decay 0 and a slope above 0.
        decays: Values of λ, half of PyTorch's weight_decay.

    Returns:
        J for each of `decays`, shape (decays,).
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
