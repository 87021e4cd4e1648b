"""Measure the cost of sampling 1,000 nets, compared with only drawing their weights, a loop over nets, and JAX.

The task is to compute log M_j of fully connected ReLU nets with one input each. The methods take turns, each computing
a slice of nets per turn, in alternating order, so that other load of the machine slows all of them. Seconds are
extrapolated to 1,000 nets from the nets of a slice (that cost is linear in the number of nets is measured too). The
result of a round is the median ratio over its slices; the tables show the median and the range of six rounds.

The floor is the time in which one torch generator in one thread (on a GPU, one generator of the device) draws as many
weights as the measured layers have, uniform ones if the weights of the nets are uniform, normal ones otherwise. With
several threads, each has its own generator. The layerwise sampler uses all threads and is also timed with one; the
other methods use as many threads as they can.

σ: distance, in standard errors, between the mean of log M_d / M_0 of a method and that of the layerwise sampler. More
than 4 means that the method samples other nets.
JAX is only installed for this benchmark: uv run --with jax python scripts/benchmark.py ensembles
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks import _jax
from benchmarks._ensemble_ways import (
    FLOOR,
    LAW,
    OURS,
    REFERENCE,
    EnsembleJob,
    SliceTimes,
    Way,
    sigmas,
    time_slices,
    torch_ways,
)
from benchmarks._harness import Columns, Session, benchmark, goal_cell, results_table
from benchmarks._measuring import Spread, peak_mebibytes, spread
from start_training.ensembles.sample import Ensemble

COMPARE = {"≥": operator.ge, "≤": operator.le}
MEMORY_GOAL = 1024  # MiB
SMALL = EnsembleJob(16, 16)
# Numbers of rounds and of slices per round, and the intended seconds of a slice.
EFFORT = {"rounds": 6, "slices": 4, "seconds": 0.3}
QUICK_EFFORT = {"rounds": 2, "slices": 2, "seconds": 0.1}


def _ratio(key: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a column for `results_table` that shows median and range of the ratio `key` of a row."""

    def cell(row: Mapping[str, Any]) -> str:
        ratio, least, greatest = (f"{value:{'.2f' if value >= 0.1 else '.2g'}}" for value in row[key])
        return f"{ratio} ({least}–{greatest})"

    return cell


WAY_COLUMNS: Columns = {
    "way": "{way}",
    "slice": "{nets_of_a_slice}",
    "s for 1,000": "{seconds_for_1000_nets:.3g}",
    "nets/s": "{nets_per_second:.0f}",
    "× ours (range)": _ratio("over_ours"),
    "× floor (range)": _ratio("over_floor"),
    "goal": goal_cell(),
    "σ": lambda row: "" if row["sigmas_from_ours"] is None else f"{row['sigmas_from_ours']:.1f}",
}
MEMORY_COLUMNS: Columns = {
    "job": "{job}",
    "nets": "{nets:,}",
    "MiB": lambda row: "unknown on this system" if row["mebibytes"] is None else f"{row['mebibytes']:.0f}",
}


class Goal(NamedTuple):
    """A goal: the time of a method divided by that of `over` ("ours" or "floor") is `sign` (≥ or ≤) `ratio`."""

    over: str
    sign: str
    ratio: float

    def __str__(self) -> str:
        return f"× {self.over} {self.sign} {self.ratio:g}"


@benchmark(quick="measure two tasks with fewer slices, in less than a minute", width=140)
def main(session: Session) -> None:
    """Time all methods on each task, print a table of each, and measure memory and linearity."""
    quick, device = session.options.quick, session.device
    effort = QUICK_EFFORT if quick else EFFORT
    session.environment |= _jax.environment()
    for job in jobs(quick=quick):
        rows = session.measure(str(job), measure, job, effort, device=device)
        session.print(results_table("{}: {rounds} rounds of {slices} slices".format(job, **effort), WAY_COLUMNS, rows))
    memory = session.measure("memory", measure_memory, device, quick=quick, key="memory")
    linear = session.measure("linearity", measure_linearity, int(effort["rounds"]), device, key="linearity")
    title = f"peak memory of the layerwise sampler, goal ≤ {MEMORY_GOAL} MiB"
    nets, ratio = linear["nets"], Spread(*linear["ratio"]).text()
    sentence = f"{SMALL}: {2 * nets:,} nets take {ratio} times as long as {nets:,}"
    session.print(results_table(title, MEMORY_COLUMNS, memory), sentence)
    if not _jax.installed():
        session.print("JAX is not installed: to measure it, uv run --with jax python scripts/benchmark.py ensembles")


def jobs(*, quick: bool = False) -> list[EnsembleJob]:
    """Return the tasks that the project has goals for, and one with wide nets."""
    if quick:
        return [SMALL, EnsembleJob(100, 100)]
    laws = ("normal", "uniform", "truncated_normal", "orthogonal")
    return [SMALL, *(EnsembleJob(100, 100, law) for law in laws), EnsembleJob(10, 1000)]


def goals(job: EnsembleJob, device: str = "cpu") -> dict[str, Goal]:
    """Return the goals for two CPU cores by the name of a method; none on a GPU, where ratios are only reported."""
    if device == "cuda" or job.width == 1000:
        return {}
    by_way = {"jax.vmap": Goal("ours", "≥", 1)}
    if job.width == 16:
        return by_way | {REFERENCE: Goal("ours", "≥", 30)}
    by_way[LAW] = Goal("floor", "≤", 0.01)
    if job.distribution in ("normal", "uniform"):
        by_way |= {OURS: Goal("floor", "≤", 1), REFERENCE: Goal("ours", "≥", 5)}
    return by_way


def measure(job: EnsembleJob, effort: Mapping[str, Any], *, device: str = "cpu") -> list[dict[str, Any]]:
    """Time all available methods on a task and return the rows of `summary`; `effort`: settings of `time_slices`."""
    ways = [*torch_ways(job, device), *([_jax.jax_way(job)] if _jax.installed() else [])]
    times = time_slices(ways, **effort, device=device)
    return summary(job, dict(zip([way.name for way in ways], times, strict=True)), goals(job, device))


def summary(job: EnsembleJob, times: Mapping[str, SliceTimes], aims: Mapping[str, Goal]) -> list[dict[str, Any]]:
    """Return a row of results for each method.

    Args:
        job: The task that was timed.
        times: Times of each method, by name.
        aims: Goals of the methods, by name.
    Returns:
        Rows with the time of the method, its nets per second and its goal; `over_ours` and `over_floor` are its time
        divided by that of the layerwise sampler and of the floor, as [median, smallest, largest] over rounds.
        `sigmas_from_ours` is None for a method that only draws weights.
    """
    rows = []
    for name, way in times.items():
        over = {
            key: list(spread(way.seconds / times[other].seconds)) for key, other in (("ours", OURS), ("floor", FLOOR))
        }
        seconds, aim = float(np.median(way.seconds)), aims.get(name)
        compared = name != OURS and len(way.log_ratios) > 1  # a single net has no standard error
        row = {
            "job": str(job),
            "way": name,
            "nets_of_a_slice": way.nets,
            "seconds_for_1000_nets": 1000 * seconds,
            "nets_per_second": 1 / seconds,
            "over_ours": over["ours"],
            "over_floor": over["floor"],
            "goal": str(aim) if aim else None,
            "met": COMPARE[aim.sign](over[aim.over][0], aim.ratio) if aim else None,
            "sigmas_from_ours": sigmas(way.log_ratios, times[OURS].log_ratios) if compared else None,
        }
        rows.append(row)
    return rows


def measure_memory(device: str = "cpu", *, quick: bool = False) -> list[dict[str, Any]]:
    """Measure the peak memory of sampling few and many nets, when no block of lengths is kept."""
    large = [(SMALL, 100_000), (EnsembleJob(100, 100), 100), (EnsembleJob(100, 100), 1_000)]
    large += [(EnsembleJob(100, 100, "orthogonal"), 100), (EnsembleJob(10, 1000), 4), (EnsembleJob(10, 1000), 40)]
    rows = []
    for job, nets in [(SMALL, 1_000), (SMALL, 10_000), *([] if quick else large)]:
        mebibytes = peak_mebibytes(partial(_sample, job, 0, device), partial(_sample, job, nets, device), device)
        rows.append({"job": str(job), "nets": nets, "mebibytes": mebibytes})
    return rows


def _sample(job: EnsembleJob, nets: int, device: str) -> None:
    for _ in Ensemble(lambda: job.net, job.initializer, job.inputs(device)).log_lengths(nets, sampler=OURS):
        pass


def measure_linearity(rounds: int, device: str = "cpu") -> dict[str, Any]:
    """Measure the ratio of the time of 2 N nets to that of N nets, with its range over rounds."""
    ours = torch_ways(SMALL, device)[0]
    nets = 4 * ours.unit  # the same number of chunks for each thread
    twice = Way("2 N", lambda nets, seed: ours.work(2 * nets, seed))
    short, long = time_slices([ours, twice], rounds=rounds, slices=4, device=device, nets=nets)
    return {"nets": nets, "ratio": list(spread(long.seconds / short.seconds))}
