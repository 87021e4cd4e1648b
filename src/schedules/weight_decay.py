"""Which weight decay to try next: the geometric mean of the best one and its better neighbour."""

import math
from collections.abc import Mapping

BELOW = 10.0  # between zero and the smallest positive weight decay: that one divided by this


def next_weight_decay(losses: Mapping[float, float]) -> float:
    """The weight decay to try next, given those tried and the validation loss of each.

    10^((log10 a + log10 b) / 2), where a has the lowest loss and b is its neighbour with the lower loss, rounded to
    one significant digit, or more where that has been tried: 3e-4 between 1e-4 and 1e-3. Between 0 and b it is b / 10.
    Source: Smith 2018 (arXiv:1803.09820), on weight decay: a coarse grid, then bisection of the exponent.

    Args:
        losses: Validation loss by weight decay.

    Raises:
        ValueError: fewer than two were tried.

    Example:
        >>> next_weight_decay({1e-5: 0.5, 1e-4: 0.3, 1e-3: 0.4})
        0.0003
    """
    tried = sorted(losses)
    if len(tried) < 2:
        raise ValueError(f"values = {tried}: must be at least two weight decays, to look between")
    best = min(tried, key=losses.__getitem__)
    place = tried.index(best)
    neighbours = [tried[at] for at in (place - 1, place + 1) if 0 <= at < len(tried)]
    low, high = sorted((best, min(neighbours, key=losses.__getitem__)))
    middle = math.sqrt(low * high) if low else high / BELOW
    rounded = (float(f"{middle:.{digits}e}") for digits in range(16))
    return next(value for value in rounded if value not in tried)
