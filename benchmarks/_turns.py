"""Ways to do one job that take turns at it, a slice of nets each.

Two timings one after the other differ by what else the machine did meanwhile; here every slice of one way stands
beside a slice of each other way, in alternating order.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
Work = Callable[[int, int], Array | None]


@dataclass(frozen=True)
class Way:
    """`work(nets, seed)` does the job for so many nets, and returns log M_d / M_0 of each if it measures them.

    It works through whole chunks, `unit` nets long: a slice that ended within one would waste the rest of it, as
    a long job does only once.
    """

    name: str
    work: Work
    unit: int = 1


@dataclass(frozen=True)
class Turns:
    """What came of the turns of one way: nets per slice, seconds per net (rounds, slices), log M_d / M_0."""

    nets: int
    seconds: Array
    log_ratios: Array


def take_turns(
    ways: Sequence[Way], *, rounds: int, slices: int, seconds: float = 0.1, device: str = "cpu", nets: int | None = None
) -> list[Turns]:
    """Time all ways in `rounds` of `slices` each, after a warm-up; in every second slice in reverse order.

    A slice has `nets` nets, or as many as the warm-up did in `seconds`, so that the fast ones are as well timed as
    the slow ones are bearable. No two slices have the same seed.
    """
    sizes = [nets or _nets_in(seconds, way, device) for way in ways]
    times = np.empty((len(ways), rounds * slices))
    ratios: list[list[Array]] = [[] for _ in ways]
    for turn in range(rounds * slices):
        order = range(len(ways)) if turn % 2 == 0 else reversed(range(len(ways)))
        for index in order:
            duration, measured = _timed(ways[index].work, sizes[index], 1 + turn * len(ways) + index, device)
            times[index, turn] = duration / sizes[index]
            ratios[index] += [] if measured is None else [measured]
    joined = [np.concatenate([np.empty(0), *parts]) for parts in ratios]
    return [
        Turns(size, row.reshape(rounds, slices), logs) for size, row, logs in zip(sizes, times, joined, strict=True)
    ]


def faster(ways: Sequence[Way]) -> Way:
    """The one that takes least time a net, after a warm-up."""
    if len(ways) == 1:
        return ways[0]
    for way in ways:
        way.work(way.unit, 0)  # compiles
    nets = max(way.unit for way in ways)
    seconds = [min(_timed(way.work, nets, 0, "cpu")[0] for _ in range(2)) for way in ways]
    return ways[int(np.argmin(seconds))]


def sigmas(one: Array, other: Array) -> float:
    """Standard errors between the means of two samples, values that are not finite (dead nets) left out."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    return float(abs(one.mean() - other.mean()) / np.hypot(*(x.std(ddof=1) / np.sqrt(len(x)) for x in (one, other))))


def _nets_in(seconds: float, way: Way, device: str) -> int:
    """At least one unit; the first, which allocates and compiles, is not looked at.

    Tenfold at most in one go, because what few nets take is mostly what it takes to begin.
    """
    way.work(way.unit, 0)
    nets = way.unit
    while (share := _timed(way.work, nets, 0, device)[0] / seconds) < 0.5:
        nets = way.unit * math.ceil(nets / way.unit * min(1 / share, 10))
    return nets


def _timed(work: Work, nets: int, seed: int, device: str) -> tuple[float, Array | None]:
    start = _now(device)
    measured = work(nets, seed)
    return _now(device) - start, measured


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
