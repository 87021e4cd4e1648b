"""Which weight decay to try next: between the best one and its better neighbour, by halving the exponent."""

import math
from collections.abc import Mapping, Sequence

BELOW = 10.0  # between zero and the smallest other one: so many times below that


def next_weight_decay(losses: Mapping[float, float]) -> float:
    """The weight decay to try next, of those tried and the validation loss of each.

    10^((log10 a + log10 b) / 2), a the best and b that of its neighbours which has the lower loss, to one significant
    digit, or more where that has been tried: 3e-4 between 1e-4 and 1e-3. Between 0 and b it is b / 10.
    Source: Smith 2018 (arXiv:1803.09820), on weight decay: a coarse grid, then bisection of the exponent.
    Raises ValueError for fewer than two.
    """
    tried = sorted(losses)
    if len(tried) < 2:
        raise ValueError(f"values = {tried}: must be at least two weight decays, to look between")
    best = min(tried, key=lambda value: losses[value])
    place = tried.index(best)
    neighbours = [tried[at] for at in (place - 1, place + 1) if 0 <= at < len(tried)]
    other = min(neighbours, key=lambda value: losses[value])
    return _between(min(best, other), max(best, other), tried)


def _between(low: float, high: float, tried: Sequence[float]) -> float:
    middle = math.sqrt(low * high) if low else high / BELOW
    rounded = (float(f"{middle:.{digits}e}") for digits in range(16))
    return next(value for value in rounded if value not in tried)
