"""Measure the cost of a phase diagram whose points share one matrix, compared with a separate matrix for each point.

The task is the tanh diagram of the paper: 150 bins of J0/J from −1 to 2, 100 bins of 1/J up to 2, N = 1,000 units, two
states, 500 iterations. Its points are shuffled and divided among turns. In each turn, the method with one matrix
computes all points of the turn, so that all turns together give one whole diagram; the other methods compute a few of
these points, each with a new matrix. All methods use all threads; the other methods compute one point per thread. The
methods take turns in alternating order, so that other load of the machine slows all of them. The result of a turn is
the ratio of seconds per point; the table shows the median and the range over turns, in wall time and in processor time,
which other load distorts less. The seconds of the whole diagram are the sum over turns for the method with one matrix,
and 15,000 times the median per point for the others.

own matrix, rows: x Wᵀ with the two states as rows, the faster product. own matrix, columns: W x with the two states as
columns, as in the equation. Both iterate both states to the last iteration; the method with one matrix drops states
that have become equal.
"""

import time
from collections.abc import Callable, Sized
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks._harness import Columns, Session, benchmark, goal_cell, results_table
from benchmarks._measuring import Array, Spread, in_turns, now, single_threaded_pool, spread
from start_training.order_chaos.asymptotic_distance import asymptotic_distance_of_one, asymptotic_distances
from start_training.order_chaos.bins import Bins
from start_training.order_chaos.random_layer import RandomLayer, draw_layer
from start_training.settings import positive_integer

OURS, ROWS, COLUMNS = "one matrix for all", "own matrix, rows", "own matrix, columns"
GOAL, GOAL_SECONDS = 10.0, 360.0  # least speed-up over the others; most seconds of a whole diagram on two CPU cores


class Size(NamedTuple):
    """Size of a diagram, and its division into turns; slow methods compute `sample` points per turn."""

    columns: Bins = Bins(-1.0, 2.0, 150)
    rows: Bins = Bins(0.0, 2.0, 100)
    N: int = 1000
    iterations: int = 500
    turns: int = 10
    sample: int = 10

    @property
    def points(self) -> int:
        return self.columns.bins * self.rows.bins

    @property
    def iterating(self) -> dict[str, int]:
        """Settings of a distance: the number of iterations, and of the last iterations over which it is averaged."""
        return {"iterations": self.iterations, "average": self.iterations // 5}

    def shares(self) -> list[tuple[Array, Array]]:
        """Return the parameters (J0, J) of the points of each turn."""
        inverse_J, ratio = np.meshgrid(self.rows.centres, self.columns.centres, indexing="ij")
        order = np.random.default_rng(0).permutation(self.points)
        J0, J = (values.ravel()[order] for values in (ratio / inverse_J, 1 / inverse_J))
        return list(zip(np.array_split(J0, self.turns), np.array_split(J, self.turns), strict=True))


QUICK = Size(Bins(-1.0, 2.0, 15), Bins(0.0, 2.0, 10), N=100, iterations=50, turns=2, sample=4)
WAY_COLUMNS: Columns = {
    "way": "{way}",
    "ms a point": lambda row: f"{1e3 * row['seconds']:.2f}",
    "whole diagram, s": "{seconds_of_all:.0f}",
    "× ours (range)": lambda row: Spread(*row["over_ours"]).text(".1f"),
    "× ours, processor time": lambda row: Spread(*row["processor_over_ours"]).text(".1f"),
    "goal": goal_cell(),
}


@benchmark(
    quick="measure a hundredth of the diagram with 100 units, in a few seconds",
    width=120,
    N={"type": int, "help": "number of units (default 1000)"},
)
def main(session: Session) -> None:
    size, N = QUICK if session.options.quick else Size(), session.options.N
    if N is not None:
        size = size._replace(N=positive_integer("N", N))
    rows = session.measure(f"N = {size.N}", measure, size, device=session.device)
    title = f"{size.columns.bins} x {size.rows.bins} points, N = {size.N}, {size.iterations} iterations: "
    session.print(results_table(f"{title}{size.turns} turns", WAY_COLUMNS, rows))


def measure(size: Size, *, device: str = "cpu") -> list[dict[str, Any]]:
    """Time all methods and return the row of each, as from `way_row`."""
    layer, shares = draw_layer(size.N, seed=0, number=0, device=device), size.shares()
    ways: dict[str, Callable[[Array, Array, int], Sized]] = {
        OURS: lambda J0, J, turn: distances(layer, J0, J, size),
        ROWS: partial(one_by_one, size, asymptotic_distance_of_one, device),
        COLUMNS: partial(one_by_one, size, distance_by_columns, device),
    }

    def seconds_per_point(way: str, turn: int) -> Array:
        start = _clocks(device)
        points = len(ways[way](*shares[turn], turn))
        return (_clocks(device) - start) / points

    for work in ways.values():
        work(shares[0][0][: size.sample], shares[0][1][: size.sample], 0)  # warm-up
    seconds: Array = np.array(in_turns([partial(seconds_per_point, way) for way in ways], size.turns))
    return [way_row(size, way, seconds[:, index], seconds[:, 0]) for index, way in enumerate(ways)]


def distances(layer: RandomLayer, J0: Array, J: Array, size: Size) -> Array:
    return np.concatenate(list(asymptotic_distances(layer, J0, J, **size.iterating)))


def one_by_one(size: Size, distance: Callable[..., float], device: str, J0: Array, J: Array, turn: int) -> list[float]:
    """Return the distances of the first `size.sample` points, each with a new matrix."""

    def point(number: int) -> float:
        layer = draw_layer(size.N, seed=1 + turn, number=number, device=device)
        return distance(layer, float(J0[number]), float(J[number]), **size.iterating)

    with single_threaded_pool(torch.get_num_threads()) as pool:
        return list(pool.map(point, range(size.sample)))


@torch.no_grad()
def distance_by_columns(layer: RandomLayer, J0: float, J: float, *, iterations: int, average: int) -> float:
    """Return the same as `asymptotic_distance_of_one`, computed with the states as columns."""
    W, x, distances = layer.weight(J0, J), layer.states.T.contiguous(), []
    for iteration in range(iterations):
        x = torch.tanh(W @ x)
        if iteration >= iterations - average:
            distances.append((x[:, 0] - x[:, 1]).square().mean().sqrt())
    return float(torch.stack(distances).double().mean())


def way_row(size: Size, way: str, seconds: Array, ours: Array) -> dict[str, Any]:
    """Return the results of a method, and whether it meets its goal if `size` is the size that has goals.

    Args:
        size: Size of the diagram.
        way: Name of the method.
        seconds: Seconds per point, shape (turns, 2), in wall time and in processor time.
        ours: Seconds per point of the method with one matrix, shape (turns, 2).
    Returns:
        The row of the method. `over_ours` and `processor_over_ours` are its time divided by that of the method with
        one matrix, as [median, smallest, largest] over turns.
    """
    over, processor_over = (spread(ratios) for ratios in (seconds / ours).T)
    typical, processor = np.median(seconds, axis=0).tolist()
    whole = size.points * (float(seconds[:, 0].mean()) if way == OURS else typical)
    goal, is_met = f"≥ {GOAL:g}", over.median >= GOAL
    if way == OURS:
        goal, is_met = f"≤ {GOAL_SECONDS:.0f} s", whole <= GOAL_SECONDS
    has_goal = size._replace(turns=Size().turns, sample=Size().sample) == Size()
    return {
        "way": way,
        "seconds": typical,
        "processor_seconds": processor,
        "seconds_of_all": whole,
        "over_ours": list(over),
        "processor_over_ours": list(processor_over),
        "goal": goal if has_goal else None,
        "met": is_met if has_goal else None,
    }


def _clocks(device: str) -> Array:
    return np.array([now(device), time.process_time()])
