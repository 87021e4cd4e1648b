"""The learning rate of a run, from a range test and from what is usual for its optimizer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from start_training.schedules.rates.rate_suggestion import SAFETY

SGD, ADAM, OTHERS = "SGD", "Adam", "other optimizers"
ADAMS = {"Adam", "AdamW", "NAdam", "RAdam", "Adamax"}
USUAL_RATES = {SGD: 0.03, ADAM: 0.003}  # largest rates of a cycle; of others it is the rate of their config
# Rates of the first range test, seven octaves, unless they are typed; if it suggests no rate, a second test covers
# all rates of the config.
RANGES = {SGD: (0.008, 1.0), ADAM: (0.002, 0.25)}
# Fraction of max_lr that is best for a whole run: on the eight nets with which it was chosen, SGD was best at max_lr,
# and AdamW at a fourth to a half of it.
FRACTIONS = {ADAM: 1 / 3}
RISEN = 2.0  # multiple of the first loss that is far above it
PRIOR_UPDATES = 25  # a range test of so many updates counts as much as the usual rate
LARGEST = 2.0  # the rate is at most this multiple of max_lr, two thirds of the rate at which validation got worse
MOST_UNUSUAL = 4.0  # or this multiple of the usual rate, if the test has found no upper limit
# What is used unless it is typed or searched, by class; others keep that of their config. On nets with which it was
# chosen, 3e-3 was never worse than 1e-3 for SGD (five nets), and 0.1 better than 0.01 for AdamW on five of six.
WEIGHT_DECAYS = {"SGD": 3e-3, "AdamW": 0.1}
WHOLE_RANGE = (1e-5, 10)  # that of conf/callbacks/range_test.yaml


def chosen_rate(
    suggestion: Mapping[str, Any], usual: float, fraction: float, lost: float = np.inf
) -> tuple[float, str]:
    """Return the largest rate of a run, to two digits, and why the usual one was used; "": the test has decided.

    It is the weighted geometric mean of `fraction` · max_lr and the usual rate: a range test of n updates has the
    weight n / (n + `PRIOR_UPDATES`), since tests of few updates scatter by octaves, as usual rates of nets do.

    Args:
        suggestion: Result of a range test, with the keys max_lr, turned, rule and updates.
        usual: The usual largest rate of the optimizer.
        fraction: The best rate of a run divided by max_lr.
        lost: A rate at which the loss of a test rose: without max_lr, a third of it is not exceeded.

    Example:
        >>> chosen_rate({"max_lr": 0.1, "turned": True, "updates": 75, "rule": ""}, 0.03, 1.0)
        (0.074, '')
    """
    rate = suggestion["max_lr"]
    if rate is None or not np.isfinite(rate):
        return float(f"{min(usual, lost / SAFETY):.2g}"), f"the range test suggests no rate ({suggestion['rule']})"
    limit = LARGEST * rate
    if not suggestion["turned"]:  # max_lr is only a lower bound
        rate, limit = limit, MOST_UNUSUAL * usual
    weight = suggestion["updates"] / (suggestion["updates"] + PRIOR_UPDATES)
    mean = (fraction * rate) ** weight * usual ** (1 - weight)
    return float(f"{min(mean, limit):.2g}"), ""


def lost_at(curves: pd.DataFrame) -> float:
    """Return the first learning rate of a range test at which a loss was far above the first one; infinite without one.

    Args:
        curves: The table of the test, with the columns learning_rate, train_loss and val_loss.

    Example:
        >>> losses = {"train_loss": [3.0, 2.0, 7.0], "val_loss": [3.0, np.nan, 9.0]}
        >>> lost_at(pd.DataFrame({"learning_rate": [0.1, 0.2, 0.4], **losses}))
        0.4
    """
    lost = pd.Series(False, curves.index)
    for name in ("train_loss", "val_loss"):
        seen = curves[name].dropna()
        lost |= (~np.isfinite(curves[name]) & curves[name].notna()) | (curves[name] > RISEN * abs(seen.iloc[0]))
    return float(curves["learning_rate"][lost].min()) if lost.any() else np.inf


def family(optimizer: Mapping[str, Any]) -> str:
    """Return `SGD`, `ADAM` or `OTHERS` for an optimizer node."""
    name = class_of(optimizer)
    return SGD if name == SGD else ADAM if name in ADAMS else OTHERS


def class_of(optimizer: Mapping[str, Any]) -> str:
    """Return the class name of an optimizer node."""
    return str(optimizer["_target_"]).rpartition(".")[2]
