"""Learning rates of the updates of a range test."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from start_training.settings import AtLeast, OneOf, PositiveNumber, checked

RAMPS = ("exponential", "linear")


@checked
def ramp_rates(
    steps: Annotated[int, AtLeast(2)],
    *,
    min_lr: PositiveNumber,
    max_lr: PositiveNumber,
    ramp: Annotated[str, OneOf(RAMPS)] = "exponential",
) -> NDArray[np.float64]:
    """Return the learning rate of each update of a range test, from exactly `min_lr` to exactly `max_lr`.

    Source: Smith 2018 (arXiv:1803.09820), the LR range test, whose rates rise linearly.

    Args:
        steps: Number of updates.
        min_lr: First rate.
        max_lr: Last rate.
        ramp: `linear`: neighbouring rates have equal differences; `exponential`: they have equal ratios, so that every
            octave has the same number of updates.

    Returns:
        Shape (steps,), increasing.

    Raises:
        ValueError: a setting is not allowed, or `min_lr` is not below `max_lr`.

    Example:
        >>> ramp_rates(3, min_lr=0.01, max_lr=1.0)
        array([0.01, 0.1 , 1.  ])
    """
    if min_lr >= max_lr:
        raise ValueError(f"min_lr = {min_lr}: must be below max_lr = {max_lr}")
    rates = np.linspace(min_lr, max_lr, steps) if ramp == "linear" else np.geomspace(min_lr, max_lr, steps)
    rates[[0, -1]] = min_lr, max_lr  # linspace and geomspace may round the ends
    return rates
