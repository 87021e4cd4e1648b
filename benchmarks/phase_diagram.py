"""What a phase diagram costs: all points with one matrix, compared with one point at a time, each with its own matrix.

The job is the tanh diagram of the paper: 150 bins of J0/J from −1 to 2, 100 of 1/J up to 2, N = 1,000 units, two
states, 500 iterations. Its points, shuffled, are shared out among turns. In a turn our way computes its share of them,
so that all turns together are one whole diagram; the other ways compute a few points of the same share, each with a
matrix that is drawn for it. Every way uses all threads, the others one point in each. The ways follow each other in a
turn, in alternating order, so that other load of the machine slows all of them; a turn's result is the ratio of seconds
per point. Reported are the median of the turns and their range, by the clock and by processor time, which a shared
machine distorts less; the whole diagram's seconds are our sum, and for the others the median per point times 15,000.

own matrix, rows: x Wᵀ of the two states as rows, which is the faster product here. own matrix, columns: W x of two
columns, as the equation is written. Both iterate both states to the last iteration; ours drops states that have met.
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
GOAL, GOAL_SECONDS = 10.0, 360.0  # × as fast as the others; seconds of the whole diagram on two CPU cores


class Size(NamedTuple):
    """The diagram, and how it is shared out: `sample` points a turn for the slow ways."""

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
        """How many iterations a distance takes, and over how many of the last it is averaged."""
        return {"iterations": self.iterations, "average": self.iterations // 5}

    def shares(self) -> list[tuple[Array, Array]]:
        """(J0, J) of each turn's points."""
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
    quick="a tenth of the diagram with 100 units, seconds",
    width=120,
    N={"type": int, "help": "units; 1000 by default"},
)
def main(session: Session) -> None:
    """Time the ways, and print a table."""
    size, N = QUICK if session.options.quick else Size(), session.options.N
    if N is not None:
        size = size._replace(N=positive_integer("N", N))
    rows = session.measure(f"N = {size.N}", measure, size, device=session.device)
    title = f"{size.columns.bins} x {size.rows.bins} points, N = {size.N}, {size.iterations} iterations: "
    session.print(results_table(f"{title}{size.turns} turns", WAY_COLUMNS, rows))


def measure(size: Size, *, device: str = "cpu") -> list[dict[str, Any]]:
    """The row of each way, as from `way_row`."""
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
    """The distances of all points with one matrix, (points,)."""
    return np.concatenate(list(asymptotic_distances(layer, J0, J, **size.iterating)))


def one_by_one(size: Size, distance: Callable[..., float], device: str, J0: Array, J: Array, turn: int) -> list[float]:
    """The distances of the first `sample` of the points, each with a matrix drawn for it."""

    def point(number: int) -> float:
        layer = draw_layer(size.N, seed=1 + turn, number=number, device=device)
        return distance(layer, float(J0[number]), float(J[number]), **size.iterating)

    with single_threaded_pool(torch.get_num_threads()) as pool:
        return list(pool.map(point, range(size.sample)))


@torch.no_grad()
def distance_by_columns(layer: RandomLayer, J0: float, J: float, *, iterations: int, average: int) -> float:
    """`asymptotic_distance_of_one` with the states as columns."""
    W, x, distances = layer.weight(J0, J), layer.states.T.contiguous(), []
    for iteration in range(iterations):
        x = torch.tanh(W @ x)
        if iteration >= iterations - average:
            distances.append((x[:, 0] - x[:, 1]).square().mean().sqrt())
    return float(torch.stack(distances).double().mean())


def way_row(size: Size, way: str, seconds: Array, ours: Array) -> dict[str, Any]:
    """The numbers of a way, and whether it meets its goal, if the size is the one that has goals.

    Args:
        size: What was computed.
        way: The way's name.
        seconds: Per point, (turns, 2), by the clock and of processors.
        ours: Likewise, of our way.
    Returns:
        `over_ours`, `processor_over_ours`: the ratios as [median, least, greatest] of turns.
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
