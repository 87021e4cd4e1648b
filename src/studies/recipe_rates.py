"""The learning rate of a run, from a range test and from what is usual for its optimizer."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from start_training.schedules.rates.rate_suggestion import SAFETY

SGD, ADAM, OTHERS = "SGD", "Adam", "other optimizers"
ADAMS = {"Adam", "AdamW", "NAdam", "RAdam", "Adamax"}
USUAL_RATES = {SGD: 0.03, ADAM: 0.003}  # largest rates of a cycle; of others it is the rate of their config
# Rates of the first range test, seven octaves, unless they are typed. If it suggests no rate, a second test covers six
# octaves below the rate at which the loss rose for good; if it did not, but has changed, below twice the smallest rate;
# and if it has not changed, all rates of the config.
RANGES = {SGD: (0.008, 1.0), ADAM: (0.002, 0.25)}
BELOW = 2**6
CHANGED = 0.01  # relative change of the validation loss by which a test has changed the net
# Fraction of max_lr that is best for a whole run: on the nets with which it was chosen, SGD was best at max_lr, and
# AdamW at a fourth to a half of it.
FRACTIONS = {ADAM: 1 / 3}
# Usual rates, and the fraction of Adam, hold for batches of up to so many samples. For larger ones they grow with the
# root of the batch, the fraction up to a limit: on three nets with batches of 256 to 1,024, AdamW was best at 0.016 to
# 0.032, and SGD at 0.08 to 0.16.
USUAL_BATCH, LARGEST_FRACTION = 64, 2 / 3
RISEN = 2.0  # multiple of the first loss that is far above it
PRIOR_UPDATES = 25  # a range test of so many updates counts as much as the usual rate
LARGEST = 2.0  # the rate is at most this multiple of max_lr, two thirds of the rate at which validation got worse
MOST_UNUSUAL = 4.0  # or this multiple of the usual rate, if the test has found no upper limit
# What is used unless it is typed or searched, by class; others keep that of their config. On nets with which it was
# chosen, 3e-3 was never worse than 1e-3 for SGD (five nets), and 0.1 better than 0.01 for AdamW on five of six.
WEIGHT_DECAYS = {"SGD": 3e-3, "AdamW": 0.1}


def usual_of(optimizer: Mapping[str, Any], batch: int) -> tuple[float, float]:
    """Return the usual largest rate of an optimizer node, and the fraction of max_lr that is best, for a batch.

    Source: the noise of a gradient falls with the root of the batch, and rates of Adam and SGD with momentum may grow
    with it: Malladi et al. 2022 (arXiv:2205.10287), Krizhevsky 2014 (arXiv:1404.5997).

    Args:
        optimizer: The node, with the keys _target_ and lr.
        batch: Number of samples in a step.

    Example:
        >>> usual_of({"_target_": "torch.optim.AdamW", "lr": 0.1}, batch=256)
        (0.006, 0.6666666666666666)
    """
    kind, growth = family(optimizer), math.sqrt(max(1.0, batch / USUAL_BATCH))
    if kind == OTHERS:
        return float(optimizer.get("lr", USUAL_RATES[ADAM])), 1.0
    fraction = FRACTIONS.get(kind, 1.0)
    return float(f"{growth * USUAL_RATES[kind]:.2g}"), max(fraction, min(LARGEST_FRACTION, growth * fraction))


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
        lost: The rate at which the loss rose in a test, or the geometric mean for two tests: a third of it is not
            exceeded without max_lr, and two thirds if max_lr is only a lower bound.

    Example:
        >>> chosen_rate({"max_lr": 0.1, "turned": True, "updates": 75, "rule": ""}, 0.03, 1.0)
        (0.074, '')
    """
    rate = suggestion["max_lr"]
    if rate is None or not np.isfinite(rate):
        return float(f"{min(usual, lost / SAFETY):.2g}"), f"the range test suggests no rate ({suggestion['rule']})"
    limit = LARGEST * rate
    if not suggestion["turned"]:  # max_lr is only a lower bound
        rate, limit = limit, min(MOST_UNUSUAL * usual, LARGEST * lost / SAFETY)
    weight = suggestion["updates"] / (suggestion["updates"] + PRIOR_UPDATES)
    mean = (fraction * rate) ** weight * usual ** (1 - weight)
    return float(f"{min(mean, limit):.2g}"), ""


def lost_at(curves: pd.DataFrame) -> float:
    """Return the rate of a range test from which on a loss stays far above the first one; infinite without one.

    Args:
        curves: The table of the test, with the columns learning_rate, train_loss and val_loss.

    Example:
        >>> losses = {"train_loss": [3.0, 7.0, 2.0, 7.0], "val_loss": [3.0, np.nan, np.nan, 9.0]}
        >>> lost_at(pd.DataFrame({"learning_rate": [0.1, 0.2, 0.4, 0.8], **losses}))
        0.8
    """
    rates = [np.inf]
    for name in ("train_loss", "val_loss"):
        seen = curves if name == "train_loss" else curves[curves[name].notna()]
        lost = ~(seen[name] <= RISEN * abs(seen[name].iloc[0]))
        rates += [*seen["learning_rate"][lost[::-1].cumprod()[::-1].astype(bool)]]
    return float(min(rates))


def too_large(curves: pd.DataFrame) -> float:
    """Return a rate from which on a net learns nothing, if a range test that suggests no rate has harmed the net.

    That is twice the smallest rate of the test. Infinite if the loss stayed what it was, since rates may have been too
    small, or fell to less than half, as that of a regression may whose net begins with large outputs.

    Args:
        curves: The table of the test, with the columns learning_rate, train_loss and val_loss.

    Example:
        >>> losses = {"train_loss": [3.5, 8.9, 2.3], "val_loss": [8.9, 2.3, 2.3]}
        >>> too_large(pd.DataFrame({"learning_rate": [0.1, 0.2, 0.4], **losses}))
        0.2
    """
    losses, first = curves["val_loss"].dropna(), abs(curves["train_loss"].iloc[0])
    harmed = losses.max() - losses.min() > CHANGED * first and losses.min() > first / RISEN
    return 2 * float(curves["learning_rate"].iloc[0]) if harmed else np.inf


def family(optimizer: Mapping[str, Any]) -> str:
    """Return `SGD`, `ADAM` or `OTHERS` for an optimizer node."""
    name = class_of(optimizer)
    return SGD if name == SGD else ADAM if name in ADAMS else OTHERS


def class_of(optimizer: Mapping[str, Any]) -> str:
    """Return the class name of an optimizer node."""
    return str(optimizer["_target_"]).rpartition(".")[2]
