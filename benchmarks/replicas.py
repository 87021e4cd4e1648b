"""What a multirun gains when its jobs train together, as one program, over one job at a time in the same process.

Whole jobs of scripts/train.py with logger=csv and no progress bar: SGD at 0.01 without momentum, no validation, MNIST
where DATA_DIR has it, else random inputs of its shape. Either 30 seeds, each with weights and an order of batches of
its own, or 6 initializers × 5 seeds, as figure 1b sweeps; of larger nets 6 seeds. Both ways train the same jobs in
fresh directories, in alternating order, after a short run of each that is not timed. One at a time, only every third
job is trained (of larger nets every second), and the time multiplied. Every job is held to have taken its steps.

  jobs   from the first job's start to the last one's summary: net, steps, test of 10,000 images, figure and all
  step   of one replica, without what a job has fixed: from the difference to jobs of a fifth of the steps

Ratios are times one at a time over times together, medians of rounds with their ranges; goals are of whole jobs.
--figure-1b times instead all jobs of the full-size figure 1b together, and extrapolates one at a time from a sample;
their arithmetic is held against what products of large matrices reach on the device.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks._machine import chosen_device, environment
from benchmarks._options import parser
from benchmarks._replicas_cases import INITIALIZERS, Case, measure
from benchmarks._replicas_figure_1b import figure_1b, sentences
from benchmarks._replicas_jobs import ALONE, TOGETHER, data_overrides
from start_training.runs.directory import finite
from start_training.runs.outcome import Interrupted

CALLBACKS = ("none", "lengths")
QUICK_FIGURE = ("size=small", "trainer.max_epochs=1", "hydra.sweeper.params.seed='0,1'")
TABLE_WIDTH = 120  # where no terminal says how wide it is, rich takes 80


def main(arguments: Sequence[str]) -> None:
    """Time the cases, or figure 1b, print what came out, and write it to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    device = chosen_device(options)
    surroundings, console = environment(device), Console(width=max(Console().width, TABLE_WIDTH))
    try:
        written = (_figure if options.figure_1b else _cases)(options, device, console)
    except Interrupted as interruption:  # a job's checkpoint lies in a directory that is gone by now
        sys.exit(interruption.exit_status)
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        options.out.write_text(json.dumps({"environment": surroundings, **finite(written)}, indent=2) + "\n")


def cases(*, quick: bool = False) -> list[Case]:
    """Those of the project's requirement. The larger nets' replicas and steps are fewer: they take so long."""
    if quick:
        return [Case(10, 64, 150, every=6, rounds=2)]
    small = [Case(10, 64, 300), Case(10, 256, 300), Case(10, 1024, 150, memory=True)]
    small += [Case(20, 64, 200), Case(20, 256, 200), Case(20, 1024, 100)]
    small += [Case(10, batch, steps, initializers=INITIALIZERS) for batch, steps in ((256, 300), (1024, 150))]
    large = [Case(60, 256, 40, 6, 2), Case(60, 1024, 30, 6, 2)]
    return [*small, *large, Case(100, 256, 20, 6, 2), Case(100, 1024, 15, 6, 2, memory=True)]


def jobs_table(results: Sequence[dict[str, Any]], source: str) -> Table:
    """Whole jobs, one row per case and choice of callbacks."""
    table = _table(f"seconds of all jobs of a case, {source}", "steps", ALONE, TOGETHER, "ratio (range)", "goal")
    for row in results:
        jobs, goal = row["jobs"], f"≥ {row['goal']:g} {'met' if row['met'] else 'missed'}"
        table.add_row(*_named(row), str(row["steps"]), *_both(jobs["seconds"], ".1f"), _ratio(jobs), goal)
    return table


def steps_table(results: Sequence[dict[str, Any]]) -> Table:
    """A replica's step, and what a job has beside its steps; likewise."""
    table = _table("milliseconds of a replica's step", ALONE, TOGETHER, "ratio (range)", "rest of a job, s")
    for row in results:
        step, fixed = row["step"], " / ".join(_both(row["fixed"]["seconds"], ".2f"))
        table.add_row(*_named(row), *_both(step["milliseconds"], ".3f"), _ratio(step), fixed)
    return table


def remarks(results: Sequence[dict[str, Any]]) -> list[str]:
    """Of memory, and of how far the two ways' results lie apart."""
    said = []
    for row in results:
        if (peaks := row["peak_mebibytes"]) and None not in peaks.values():
            shape = f"{row['case']}, batch {row['batch']}, callbacks={row['callbacks']}"
            alone, together = _both(peaks, ".0f")
            said.append(f"memory at its peak, {shape}: {alone} MiB {ALONE}, {together} MiB {TOGETHER}")
    apart = max(row["loss_apart"] for row in results)
    return [*said, f"test losses of the two ways lie at most {apart:.1e} of their value apart"]


def _cases(options: argparse.Namespace, device: str, console: Console) -> dict[str, Any]:
    data, source = data_overrides()
    results = []
    for case in cases(quick=options.quick):
        for callbacks in CALLBACKS:
            with console.status(f"{case}, batch {case.batch}, callbacks={callbacks}"):
                results.append(measure(case, callbacks, data, device))
    console.print(jobs_table(results, source), steps_table(results))
    console.print("\n".join(remarks(results)), soft_wrap=True, highlight=False)
    return {"data": source, "results": results}


def _figure(options: argparse.Namespace, device: str, console: Console) -> dict[str, Any]:
    with console.status("figure 1b"):
        result = figure_1b(QUICK_FIGURE if options.quick else (), device)
    console.print("\n".join(sentences(result)), soft_wrap=True, highlight=False)
    return {"figure_1b": result}


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for heading in ("net, jobs", "callbacks"):
        table.add_column(heading, no_wrap=True)
    for heading in ("batch", *headings):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _named(row: dict[str, Any]) -> list[str]:
    return [row["case"], row["callbacks"], str(row["batch"])]


def _both(values: dict[str, float], form: str) -> list[str]:
    return [_number(values[way], form) for way in (ALONE, TOGETHER)]


def _ratio(of: dict[str, Any]) -> str:
    return f"{_number(of['ratio'], '.2f')} ({'–'.join(_number(end, '.2f') for end in of['range'])})"


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "?"


def _parser() -> argparse.ArgumentParser:
    options = parser("replicas", __doc__, quick="one small net and few steps, under a minute")
    options.add_argument("--figure-1b", action="store_true", help="its jobs, with --quick those of its small size")
    return options
