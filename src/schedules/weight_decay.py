"""Bisection of the exponent of the weight decay."""

import math
from collections.abc import Mapping

BELOW = 10.0  # zero has no logarithm: between 0 and b the next weight decay is b / BELOW


def next_weight_decay(losses: Mapping[float, float]) -> float:
    """Return the weight decay to try next, between the best one so far and its better neighbour.

    It is the geometric mean 10^((log10 a + log10 b) / 2), where a has the lowest loss and b is the neighbour of a with
    the lower loss: 3e-4 between 1e-4 and 1e-3. It is rounded to one significant digit, or to more digits if the rounded
    value has been tried already. Between 0 and b it is b / 10.
    Source: Smith 2018 (arXiv:1803.09820), on weight decay: a coarse grid, then bisection of the exponent.

    Args:
        losses: Validation loss of each weight decay tried so far, {weight decay: loss}.

    Raises:
        ValueError: `losses` has fewer than two weight decays.

    Example:
        >>> next_weight_decay({1e-5: 0.5, 1e-4: 0.3, 1e-3: 0.4})
        0.0003
    """
    tried = sorted(losses)
    if len(tried) < 2:
        raise ValueError(f"values = {tried}: must be at least two weight decays, since the next one lies between two")
    best = min(tried, key=losses.__getitem__)
    place = tried.index(best)
    neighbours = [tried[at] for at in (place - 1, place + 1) if 0 <= at < len(tried)]
    low, high = sorted((best, min(neighbours, key=losses.__getitem__)))
    middle = math.sqrt(low * high) if low else high / BELOW
    rounded = (float(f"{middle:.{digits}e}") for digits in range(16))
    return next(value for value in rounded if value not in tried)
