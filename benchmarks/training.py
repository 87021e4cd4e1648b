"""What a training step of a run costs beside a bare PyTorch loop, and what lies between the jobs of a multirun.

The same net, the same tensors in memory, batches of 1024, SGD at 0.01 without momentum, on MNIST where DATA_DIR has
it, else on random tensors of its shape. Ways to train take turns of an epoch each, after some steps that are not
timed, in alternating order; a turn is a training of its own. Timed are whole steps, loading the batch included. A
round's result is the median ratio of its turns; reported is the median of six rounds, and their range.

  bare PyTorch loop     a permutation per epoch, index_select per batch, forward, backward, SGD, and nothing else
  Lightning, all off    the same under a Trainer that logs, saves and shows nothing
  lengths off           what scripts/train.py runs with callbacks=none logger=csv, with the progress bar off, and on
  lengths at every step the same with callbacks=lengths, progress bar off

Charged to each step with lengths is its share of writing them every 100 steps, timed apart. Not charged to steps is an
epoch's end (checkpoint, row of metrics, what lengths are there to write), which has a table of its own. Jobs: one
multirun of scripts/train.py in a process of its own, from one job's last step to the next one's first.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._interleaved import Array, median_of_rounds
from benchmarks._job_gaps import LOGGERS, PARTS, job_gaps
from benchmarks._machine import chosen_device, environment
from benchmarks._options import parser
from benchmarks._training_ways import (
    BARE,
    LENGTHS,
    OURS,
    OURS_WITH_BAR,
    WAYS,
    Turn,
    epoch_end_seconds,
    flush_seconds,
    step_seconds,
    training_samples,
)
from start_training.datamodules.samples import Samples
from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected

JOB_GOAL = 0.3  # seconds between jobs
TABLE_WIDTH = 110  # where no terminal says how wide it is, rich takes 80


class Case(NamedTuple):
    """A net of `size` layers of `size`, and how long to measure it."""

    size: int
    turns: int
    rounds: int = 6
    turn: Turn = Turn(5, 59)  # an epoch of MNIST

    @property
    def goals(self) -> dict[str, float]:
        """By way, the ratio to the bare loop that is not to be exceeded."""
        without, with_lengths = (1.3, 1.45) if self.size < 30 else (1.1, 1.3)
        return {OURS: without, OURS_WITH_BAR: without, LENGTHS: with_lengths}


def main(arguments: Sequence[str]) -> None:
    """Time steps, epochs' ends and jobs, print a table of each, and write the numbers to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    surroundings = environment(chosen_device(options))
    console, results = Console(width=max(Console().width, TABLE_WIDTH)), []
    samples, source = training_samples()
    for case in cases(quick=options.quick):
        with console.status(f"{case.size} x {case.size}"):
            results.append(measure(case, samples))
        console.print(steps_table(results[-1], f"{case.size} x {case.size}, {source}"))
    with console.status("jobs"):
        loggers = [*LOGGERS][:1] if options.quick else LOGGERS
        jobs = {logger: job_gaps(logger, jobs=2 if options.quick else 5) for logger in loggers}
    console.print(jobs_table(jobs))
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        written = {"environment": surroundings, "data": source, "results": results, "jobs": jobs}
        options.out.write_text(json.dumps(written, indent=2) + "\n")


def cases(*, quick: bool = False) -> list[Case]:
    """Those of the project's requirement."""
    return [Case(10, 2, rounds=2)] if quick else [Case(10, 8), Case(30, 4), Case(100, 1)]


def measure(case: Case, samples: Samples) -> dict[str, Any]:
    """Steps of every way, and ends of epochs, of one net; see `summary`."""
    net = build_net(case, samples)
    times = np.empty((case.rounds, case.turns, len(WAYS)))
    for index in range(case.rounds * case.turns):
        order = list(enumerate(WAYS))
        for column, way in order if index % 2 == 0 else reversed(order):
            times[divmod(index, case.turns)][column] = step_seconds(way, net, samples, case.turn)
    ends = {way: epoch_end_seconds(net, samples, lengths=lengths) for way, lengths in ((OURS, False), (LENGTHS, True))}
    return {"net": f"{case.size} x {case.size}", "rounds": case.rounds, "turns": case.turns} | {
        "steps": summary(times, flush_seconds(net, samples), case.goals),
        "epoch_end_milliseconds": {way: 1e3 * seconds for way, seconds in ends.items()},
    }


def build_net(case: Case, samples: Samples) -> nn.Module:
    """Critical at initialization."""
    net = FullyConnected(samples.inputs[0].numel(), 10, depth=case.size, width=case.size)
    initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(0))
    return net


def summary(times: Array, flush: float, goals: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each way, of seconds per step (rounds, turns, ways), with `flush` more for lengths.

    `ratio`: over the bare loop, the median of the rounds' medians; `range` is theirs.
    """
    rows = []
    for column, way in enumerate(WAYS):
        extra = flush if way == LENGTHS else 0.0
        ours, bare = times[..., column] + extra, times[..., [*WAYS].index(BARE)]
        ratio, least, greatest = median_of_rounds(np.median(ours / bare, axis=1))
        row = {
            "way": way,
            "milliseconds": 1e3 * float(np.median(ours)),
            "added_microseconds": 1e6 * float(np.median(np.median(ours - bare, axis=1))),
            "flush_microseconds": 1e6 * extra,  # a part of those added
            "ratio": ratio,
            "range": [least, greatest],
            "goal": goals.get(way),
            "met": ratio <= goals[way] if way in goals else None,
        }
        rows.append(row)
    return rows


def steps_table(result: dict[str, Any], title: str) -> Table:
    """One row per way."""
    ends = ", ".join(f"{value:.1f} ms {way}" for way, value in result["epoch_end_milliseconds"].items())
    table = Table(
        title=title, caption=f"an epoch's end: {ends}", title_justify="left", caption_justify="left", box=SIMPLE
    )
    table.add_column("way", no_wrap=True)
    for heading in ("ms/step", "added, µs", "× bare", "range of rounds", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["steps"]:
        least, greatest = row["range"]
        numbers = [f"{row['milliseconds']:.3f}", f"{row['added_microseconds']:.0f}", f"{row['ratio']:.3f}"]
        goal = f"≤ {row['goal']:g} {'met' if row['met'] else 'missed'}" if row["goal"] else ""
        table.add_row(row["way"], *numbers, f"{least:.3f}–{greatest:.3f}", goal)
    return table


def jobs_table(jobs: dict[str, list[dict[str, float]]]) -> Table:
    """One row per logger: medians over jobs, in seconds."""
    title = f"from a job's last step to the next one's first, in seconds; goal ≤ {JOB_GOAL:g}"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for heading in ("logger", *PARTS, "in all", "range"):
        table.add_column(heading, justify="left" if heading == "logger" else "right")
    for logger, gaps in jobs.items():
        parts = [float(np.median([gap[part] for gap in gaps])) for part in PARTS]
        total, least, greatest = median_of_rounds([sum(gap.values()) for gap in gaps])
        table.add_row(logger, *(f"{value:.2f}" for value in (*parts, total)), f"{least:.2f}–{greatest:.2f}")
    return table


def _parser() -> argparse.ArgumentParser:
    return parser("training", __doc__, quick="one small net and two jobs, under a minute", device=False)
