"""What a phase diagram costs: all points with one matrix, beside one point at a time with a matrix of its own.

The job is the tanh diagram of the paper: 150 bins of J0/J from −1 to 2, 100 of 1/J up to 2, N = 1,000 units, two
states, 500 iterations. Its points, shuffled, are dealt out to turns. In a turn our way does its share of them, so that
all turns together are one whole diagram; the other ways do a few points of the same share, each with a matrix that is
drawn for it. Every way has all threads, the others with a point in each. The ways of a turn stand beside each other,
in alternating order, so that what else the machine does is done to all; a turn's result is the ratio of seconds per
point. Reported are the median of the turns and their range, by the clock and by processor time, which a shared machine
distorts less; the whole diagram's seconds are our sum, and for the others the median per point times 15,000.

own matrix, rows: x Wᵀ of the two states as rows, which is the faster product here. own matrix, columns: W x of two
columns, as one would write it down. Both take part in every iteration, to the last; ours lets states that have met go.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks._interleaved import median_of_rounds
from benchmarks._machine import chosen_device, environment
from benchmarks._options import parser
from start_training.order_chaos.asymptotic_distance import asymptotic_distance_of_one, asymptotic_distances
from start_training.order_chaos.bins import Bins
from start_training.order_chaos.random_layer import RandomLayer, draw_layer
from start_training.settings import positive_integer

Array = NDArray[np.float64]
OURS, ROWS, COLUMNS = "one matrix for all", "own matrix, rows", "own matrix, columns"
GOAL, GOAL_SECONDS = 10.0, 360.0  # × as fast as the others; seconds of the whole diagram on two CPU cores
TABLE_WIDTH = 120  # where no terminal says how wide it is, rich takes 80


class Size(NamedTuple):
    """The diagram, and how it is dealt out: `sample` points a turn for the slow ways."""

    columns: Bins = Bins(-1.0, 2.0, 150)
    rows: Bins = Bins(0.0, 2.0, 100)
    N: int = 1000
    iterations: int = 500
    turns: int = 10
    sample: int = 10

    @property
    def points(self) -> int:
        return self.columns.bins * self.rows.bins

    def shares(self) -> list[tuple[Array, Array]]:
        """(J0, J) of each turn's points."""
        inverse_J, ratio = np.meshgrid(self.rows.centres, self.columns.centres, indexing="ij")
        order = np.random.default_rng(0).permutation(self.points)
        J0, J = (values.ravel()[order] for values in (ratio / inverse_J, 1 / inverse_J))
        return list(zip(np.array_split(J0, self.turns), np.array_split(J, self.turns), strict=True))


QUICK = Size(Bins(-1.0, 2.0, 15), Bins(0.0, 2.0, 10), N=100, iterations=50, turns=2, sample=4)


def main(arguments: Sequence[str]) -> None:
    """Time the ways, print a table, and write the numbers to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    device, size = chosen_device(options), QUICK if options.quick else Size()
    if options.N is not None:
        size = size._replace(N=positive_integer("N", options.N))
    console, surroundings = Console(width=max(Console().width, TABLE_WIDTH)), environment(device)
    with console.status(f"N = {size.N}"):
        rows = measure(size, device=device)
    console.print(results_table(size, rows))
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        options.out.write_text(json.dumps({"environment": surroundings, "results": rows}, indent=2) + "\n")


def measure(size: Size, *, device: str = "cpu") -> list[dict[str, Any]]:
    """A row for each way; see the module. `over_ours`, `processor_over_ours`: [median, least, greatest] of turns."""
    layer = draw_layer(size.N, seed=0, number=0, device=device)
    ways: dict[str, Callable[[Array, Array, int], int]] = {
        OURS: lambda J0, J, turn: ours(size, layer, J0, J),
        ROWS: lambda J0, J, turn: one_by_one(size, J0, J, turn, device=device),
        COLUMNS: lambda J0, J, turn: one_by_one(size, J0, J, turn, device=device, columns=True),
    }
    shares = size.shares()
    for work in ways.values():
        work(shares[0][0][: size.sample], shares[0][1][: size.sample], 0)  # warm-up
    seconds = np.empty((len(ways), size.turns, 2))  # by the clock, and of processors
    for turn, (J0, J) in enumerate(shares):
        for index, work in list(enumerate(ways.values()))[:: 1 if turn % 2 == 0 else -1]:
            began = _now(device)
            points = work(J0, J, turn)
            seconds[index, turn] = (_now(device) - began) / points
    return [_row(size, name, of_way, seconds[0]) for name, of_way in zip(ways, seconds, strict=True)]


def ours(size: Size, layer: RandomLayer, J0: Array, J: Array) -> int:
    """All these points; returns how many."""
    for _ in asymptotic_distances(layer, J0, J, iterations=size.iterations, average=_average(size)):
        pass
    return len(J)


def one_by_one(size: Size, J0: Array, J: Array, turn: int, *, device: str = "cpu", columns: bool = False) -> int:
    """The first `sample` of them, each with a matrix drawn for it; returns how many."""

    def point(number: int) -> float:
        layer = draw_layer(size.N, seed=1 + turn, number=number, device=device)
        settings = {"iterations": size.iterations, "average": _average(size)}
        return (of_columns if columns else asymptotic_distance_of_one)(
            layer, float(J0[number]), float(J[number]), **settings
        )

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        list(pool.map(point, range(size.sample)))
    torch.set_num_threads(threads)  # part of the setting is the process's, not the thread's
    return size.sample


@torch.no_grad()
def of_columns(layer: RandomLayer, J0: float, J: float, *, iterations: int, average: int) -> float:
    """`asymptotic_distance_of_one` with the states as columns."""
    W, x, distances = layer.weight(J0, J), layer.states.T.contiguous(), []
    for iteration in range(iterations):
        x = torch.tanh(W @ x)
        if iteration >= iterations - average:
            distances.append((x[:, 0] - x[:, 1]).square().mean().sqrt())
    return float(torch.stack(distances).double().mean())


def results_table(size: Size, rows: list[dict[str, Any]]) -> Table:
    """One row per way."""
    title = (
        f"{size.columns.bins} x {size.rows.bins} points, N = {size.N}, {size.iterations} iterations: {size.turns} turns"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("way", no_wrap=True)
    for heading in ("ms a point", "whole diagram, s", "× ours (range)", "× ours, processor time", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        ratios = ["{:.1f} ({:.1f}–{:.1f})".format(*row[key]) for key in ("over_ours", "processor_over_ours")]
        met = "" if row["met"] is None else f"{row['goal']} {'met' if row['met'] else 'missed'}"
        table.add_row(row["way"], f"{1e3 * row['seconds']:.2f}", f"{row['seconds_of_all']:.0f}", *ratios, met)
    return table


def _row(size: Size, name: str, seconds: Array, of_ours: Array) -> dict[str, Any]:
    """From seconds per point, (turns, 2)."""
    over, processor_over = (list(median_of_rounds(ratio)) for ratio in (seconds / of_ours).T)
    typical, processor = (float(median) for median in np.median(seconds, axis=0))
    whole = size.points * (float(seconds[:, 0].mean()) if name == OURS else typical)
    goal, met = (f"≤ {GOAL_SECONDS:.0f} s", whole <= GOAL_SECONDS) if name == OURS else (f"≥ {GOAL:g}", over[0] >= GOAL)
    judged = size._replace(turns=Size().turns, sample=Size().sample) == Size()
    return {
        "way": name,
        "seconds": typical,
        "processor_seconds": processor,
        "seconds_of_all": whole,
        "over_ours": over,
        "processor_over_ours": processor_over,
        "goal": goal if judged else None,
        "met": met if judged else None,
    }


def _average(size: Size) -> int:
    return size.iterations // 5


def _now(device: str) -> Array:
    if device == "cuda":
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def _parser() -> argparse.ArgumentParser:
    options = parser("phase_diagram", __doc__, quick="a tenth of the diagram with 100 units, seconds")
    options.add_argument("--N", type=int, help="units; 1000 by default")
    return options
