"""The rates that a range test goes through."""

import numpy as np
from numpy.typing import NDArray

from start_training.settings import one_of, positive_number, whole_number

RAMPS = ("exponential", "linear")


def ramp(steps: int, *, min_lr: float, max_lr: float, kind: str = "exponential") -> NDArray[np.float64]:
    """A rate for each of `steps` updates, from `min_lr` at the first to `max_lr` at the last, exactly; (steps,).

    linear: equal differences. exponential: equal ratios, so that each octave has as many steps.
    Source: Smith 2018 (arXiv:1803.09820), the LR range test: linear.
    Raises ValueError for an unknown kind, rates that do not rise from above 0, and fewer than two steps.
    """
    one_of("ramp", kind, RAMPS)
    low, high = positive_number("min_lr", min_lr), positive_number("max_lr", max_lr)
    if low >= high:
        raise ValueError(f"min_lr = {min_lr}: must be below max_lr, {max_lr}")
    whole_number("steps", steps, at_least=2)
    rates = np.linspace(low, high, steps) if kind == "linear" else np.geomspace(low, high, steps)
    rates[[0, -1]] = low, high  # rounding may have moved them
    return rates
