"""What sampling 1,000 nets costs, beside drawing their weights and doing nothing else, a loop, and JAX.

The job is log M_j of fully connected ReLU nets, one input each. Its ways take turns at slices of nets, in alternating
order, so that what else the machine does is done to all; seconds are extrapolated to 1,000 nets from as many as a slice
has (cost is linear in nets, which is measured too). A round's result is the median ratio of its slices; reported is the
median of six rounds, and their range.

The floor is one torch generator on one thread (on a GPU, one there), drawing as many weights as the measured layers
have: normal ones, or uniform where the job's are. With several threads there is one generator in each. The layerwise
sampler uses all threads, as its users do, and is also timed on one; so do the others as far as they can.

σ: standard errors between a way's mean of log M_d / M_0 and ours, over all its nets. Beyond 4 it would be another job.
JAX is installed for the benchmark only: uv run --with jax python scripts/benchmark.py ensembles
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks import _jax
from benchmarks._interleaved import median_of_rounds
from benchmarks._job import FLOOR, LAW, OURS, REFERENCE, Job, torch_ways
from benchmarks._machine import chosen_device, environment
from benchmarks._memory import peak_mebibytes
from benchmarks._options import parser
from benchmarks._turns import Turns, Way, sigmas, take_turns

NETS = 1000
MEMORY_GOAL = 1024  # MiB
TABLE_WIDTH = 140  # where no terminal says how wide it is, rich takes 80
WITHOUT_JAX = "jax.vmap: not installed; uv run --with jax python scripts/benchmark.py ensembles"


class Patience(NamedTuple):
    """How long to measure: `seconds` is what a slice should take."""

    rounds: int
    slices: int
    seconds: float


class Goal(NamedTuple):
    """A way's time over that of ours, or of the floor, is to be at least, or at most, a number."""

    over: str
    at_least: bool
    ratio: float

    def __str__(self) -> str:
        return f"× {self.over} {'≥' if self.at_least else '≤'} {self.ratio:g}"

    def met(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.at_least else ratio <= self.ratio


def main(arguments: Sequence[str]) -> None:
    """Time the jobs, print a table of each, and write the numbers to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    device = chosen_device(options)
    console, surroundings, results = (
        Console(width=max(Console().width, TABLE_WIDTH)),
        environment(device, **_jax.environment()),
        [],
    )
    patience = Patience(2, 2, 0.1) if options.quick else Patience(6, 4, 0.3)
    for job in jobs(quick=options.quick):
        with console.status(str(job)):
            rows = measure(job, patience, device=device)
        console.print(results_table(job, rows, patience))
        results += rows
    with console.status("memory"):
        memory, linear = measure_memory(device, quick=options.quick), measure_linearity(patience, device)
    console.print(memory_table(memory))
    console.print(_linearity_line(linear))
    if not _jax.installed():
        console.print(WITHOUT_JAX)
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        written = {"environment": surroundings, "results": results, "memory": memory, "linearity": linear}
        options.out.write_text(json.dumps(written, indent=2) + "\n")


def jobs(*, quick: bool = False) -> list[Job]:
    """Those of the project's requirement, and a wide one."""
    small = Job(16, 16, "normal")
    if quick:
        return [small, Job(100, 100, "normal")]
    laws = ("normal", "uniform", "truncated_normal", "orthogonal")
    return [small, *(Job(100, 100, law) for law in laws), Job(10, 1000, "normal")]


def goals(job: Job, device: str = "cpu") -> dict[str, Goal]:
    """For two CPU cores, by the name of a way; none on a GPU, where ratios are reported only."""
    if device == "cuda" or job.width == 1000:
        return {}
    all_laws = {"jax.vmap": Goal("ours", True, 1)}
    exact = {LAW: Goal("floor", False, 0.01)} if job.width == 100 else {}
    if job.width == 16:
        return all_laws | exact | {REFERENCE: Goal("ours", True, 30)}
    if job.distribution in ("normal", "uniform"):
        return all_laws | exact | {OURS: Goal("floor", False, 1), REFERENCE: Goal("ours", True, 5)}
    return all_laws | exact


def measure(job: Job, patience: Patience, *, device: str = "cpu") -> list[dict[str, Any]]:
    """A row for each way that can do the job here; see `summary`."""
    ways: list[Way] = torch_ways(job, device)
    if _jax.installed():
        ways.append(_jax.jax_way(job))
    turns = take_turns(ways, **patience._asdict(), device=device)
    return summary(job, dict(zip([way.name for way in ways], turns, strict=True)), goals(job, device))


def summary(job: Job, turns: dict[str, Turns], aims: dict[str, Goal]) -> list[dict[str, Any]]:
    """Of each way: time, nets per second, its time over that of ours and of the floor, its goal, its σ from ours.

    `over_ours`, `over_floor`: [median, least, greatest] of the rounds' medians.
    """
    rows = []
    for name, way in turns.items():
        over = {
            key: list(median_of_rounds(np.median(way.seconds / turns[other].seconds, axis=1)))
            for key, other in (("ours", OURS), ("floor", FLOOR))
        }
        seconds, aim = float(np.median(way.seconds)), aims.get(name)
        row = {
            "job": str(job),
            "way": name,
            "nets_of_a_slice": way.nets,
            "seconds_for_1000_nets": NETS * seconds,
            "nets_per_second": 1 / seconds,
            "over_ours": over["ours"],
            "over_floor": over["floor"],
            "goal": str(aim) if aim else None,
            "met": aim.met(over[aim.over][0]) if aim else None,
            "sigmas_from_ours": sigmas(way.log_ratios, turns[OURS].log_ratios) if _is_another(name, way) else None,
        }
        rows.append(row)
    return rows


def _is_another(name: str, way: Turns) -> bool:
    """Whether it is a way to measure lengths, and not ours; a single net has no standard error."""
    return name != OURS and len(way.log_ratios) > 1


def measure_memory(device: str = "cpu", *, quick: bool = False) -> list[dict[str, Any]]:
    """Peak memory of the layerwise sampler for few nets and for many; see `peak_mebibytes`."""
    sizes = [(Job(16, 16, "normal"), 1_000), (Job(16, 16, "normal"), 10_000)]
    if not quick:
        sizes += [(Job(16, 16, "normal"), 100_000), (Job(100, 100, "normal"), 100), (Job(100, 100, "normal"), 1_000)]
        sizes += [(Job(100, 100, "orthogonal"), 100), (Job(10, 1000, "normal"), 4), (Job(10, 1000, "normal"), 40)]
    return [{"job": str(job), "nets": nets, "mebibytes": peak_mebibytes(job, nets, device)} for job, nets in sizes]


def measure_linearity(patience: Patience, device: str = "cpu") -> dict[str, Any]:
    """Seconds of 2 N nets over those of N, of 16 x 16, in turns; range over rounds."""
    ours = torch_ways(Job(16, 16, "normal"), device)[0]
    nets = 4 * ours.unit  # as many chunks for each thread
    once = Way("N", ours.work)
    twice = Way("2 N", lambda nets, seed: ours.work(2 * nets, seed))
    short, long = take_turns([once, twice], rounds=patience.rounds, slices=4, device=device, nets=nets)
    return {"nets": nets, "ratio": list(median_of_rounds(np.median(long.seconds / short.seconds, axis=1)))}


def results_table(job: Job, rows: list[dict[str, Any]], patience: Patience) -> Table:
    """One row per way."""
    title = f"{job}: {patience.rounds} rounds of {patience.slices} slices"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("way", no_wrap=True)
    for heading in ("slice", "s for 1,000", "nets/s", "× ours (range)", "× floor (range)", "goal", "σ"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        numbers = [str(row["nets_of_a_slice"]), f"{row['seconds_for_1000_nets']:.3g}", f"{row['nets_per_second']:.0f}"]
        ratios = [_ratio_and_range(row[key]) for key in ("over_ours", "over_floor")]
        goal = f"{row['goal']} {'met' if row['met'] else 'missed'}" if row["goal"] else ""
        apart = row["sigmas_from_ours"]
        table.add_row(row["way"], *numbers, *ratios, goal, "" if apart is None else f"{apart:.1f}")
    return table


def _ratio_and_range(values: list[float]) -> str:
    ratio, least, greatest = (f"{value:{'.2f' if value >= 0.1 else '.2g'}}" for value in values)
    return f"{ratio} ({least}–{greatest})"


def memory_table(rows: list[dict[str, Any]]) -> Table:
    """One row per job and number of nets."""
    table = Table(
        title=f"peak memory of the layerwise sampler, goal ≤ {MEMORY_GOAL} MiB", title_justify="left", box=SIMPLE
    )
    table.add_column("job", no_wrap=True)
    table.add_column("nets", justify="right")
    table.add_column("MiB", justify="right")
    for row in rows:
        mebibytes = row["mebibytes"]
        table.add_row(row["job"], f"{row['nets']:,}", "unknown here" if mebibytes is None else f"{mebibytes:.0f}")
    return table


def _linearity_line(linear: dict[str, Any]) -> str:
    nets = linear["nets"]
    ratio, least, greatest = linear["ratio"]
    return f"16 x 16, normal: {2 * nets:,} nets take {ratio:.2f} ({least:.2f}–{greatest:.2f}) times as long as {nets:,}"


def _parser() -> argparse.ArgumentParser:
    return parser("ensembles", __doc__, quick="two jobs and fewer slices, under a minute")
