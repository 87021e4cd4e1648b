"""What it costs to record every layer's length at every step, beside the usual ways of doing so.

Timed are whole training steps of Lightning (`Trainer.fit`, automatic optimization, SGD; no logger, no
checkpoints, no progress bar, which makes the plain step as short as it can be) on one batch. Each method
watches a net whose twin, with the same weights, is watched by nobody, and the two trainings take turns.
On a GPU, and for compiled nets, a turn is ten steps: waiting for the device after each step would hide
that the host may run ahead.

A round is a new pair of trainings, for where they happen to lie in memory decides a percent or so; its
result is the median ratio of its pairs of turns. Reported is the median of six rounds, and their range.

Charged is every step. What a method puts off to every 100th step (ActivationLengths its transfer and
writing to disk) does not depend on the batch: it is timed in two hundred steps of a net of its own, not
compiled, on two samples, and its hundredth part is added to every step. Not charged is what happens once
(registering hooks, joining the tables' parts at the end), nor what the process of W&B does meanwhile,
which slows both twins. The first method, a callback that does nothing, shows what to make of a ratio near 1.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._interleaved import Array, SteppedFit, deferred_time, median_of_rounds, paired_times
from benchmarks._machine import chosen_device, environment
from benchmarks._nets import Case, build_twins, cases
from benchmarks._options import parser
from benchmarks._watchers import ReadEachLayer, WatchWithWandb
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.lengths.capture import Capture
from start_training.models.classifier import Classifier

ROUNDS = 6
PERIOD = 100  # steps after which to do what was put off, the default of ActivationLengths
NEVER = 10**9

OURS = "ActivationLengths"
ITEM = "item_by_layer"
WANDB = "wandb.watch"
WANDB_SELDOM = "wandb.watch/100"


@dataclass(frozen=True)
class Method:
    """A callback that writes into a directory and puts off to every so-manyth step what it can, if it `defers`."""

    callback: Callable[[Path, int], pl.Callback]
    defers: bool = False


METHODS = {
    "nothing": Method(lambda directory, period: pl.Callback()),
    OURS: Method(lambda directory, period: ActivationLengths(directory, flush_every_n_steps=period), defers=True),
    ITEM: Method(lambda directory, period: ReadEachLayer()),
    WANDB: Method(lambda directory, period: WatchWithWandb(directory, 1)),
    WANDB_SELDOM: Method(WatchWithWandb, defers=True),
}


def main(arguments: Sequence[str]) -> None:
    """Time the nets that suit the device, print a table, and write the numbers to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    device = chosen_device(options)
    console, surroundings, results = Console(), environment(device, compiled=options.compile), []
    for case in cases(device, quick=options.quick, compiled=options.compile):
        rows = []
        for method in options.methods or _suitable_methods(case, compiled=options.compile):
            with console.status(f"{case.name}: {method}"):
                rows.append(measure(case, method, device=device, compiled=options.compile))
        console.print(results_table(case, rows))
        results += rows
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        options.out.write_text(json.dumps({"environment": surroundings, "results": results}, indent=2) + "\n")


def measure(
    case: Case,
    method: str,
    *,
    device: str = "cpu",
    compiled: bool = False,
    precision: str = "32-true",
    rounds: int = ROUNDS,
    period: int = PERIOD,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Time one method on one net; see `summary`. Fewer rounds, at least one, where so many take more seconds."""
    way, times, began = METHODS[method], list[Array](), time.monotonic()
    for number in range(1, rounds + 1):
        times.append(_round(case, way, device, compiled, precision))
        if (time.monotonic() - began) * (number + 1) / number > seconds:
            break
    deferred = _deferred(case, way, device, period) if way.defers else 0.0
    return {"net": case.name, "method": method, "layers": count_layers(case)} | summary(np.stack(times), deferred)


def summary(times: Array, deferred: float) -> dict[str, Any]:
    """Of seconds per step (rounds, pairs, 2) and what was put off: median and range of the rounds' medians.

    `ratio`: of step times, watched over plain. `added`: their difference, in microseconds.
    """
    plain, watched = times[..., 0], times[..., 1] + deferred
    ratio, least, greatest = median_of_rounds(np.median(watched / plain, axis=1))
    return {
        "ratio": ratio,
        "ratio_range": [least, greatest],
        "rounds": times.shape[0],
        "pairs": times.shape[1],
        "plain_milliseconds": 1e3 * float(np.median(plain)),
        "added_microseconds": 1e6 * median_of_rounds(np.median(watched - plain, axis=1))[0],
        "deferred_microseconds": 1e6 * deferred,  # a part of those added
    }


def count_layers(case: Case) -> int:
    """How many layers ActivationLengths measures, the input and repeated calls counted."""
    (net, _), (inputs, _) = build_twins(case, "cpu")
    capture = Capture(net)
    capture.start()
    net(inputs[:2])
    return len(capture.stop())


def results_table(case: Case, rows: list[dict[str, Any]]) -> Table:
    """One row per method."""
    first = rows[0]
    title = f"{case.name}: {first['plain_milliseconds']:.1f} ms a step, {first['layers']} layers measured, "
    title += f"{first['rounds']} rounds of {first['pairs']} pairs"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("method", no_wrap=True)
    for heading in ("added, µs", "per layer", "ratio", "range of rounds", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        added, (least, greatest) = row["added_microseconds"], row["ratio_range"]
        numbers = [f"{added:.0f}", f"{added / row['layers']:.1f}", f"{row['ratio']:.3f}", f"{least:.3f}–{greatest:.3f}"]
        goal = f"≤ {case.goal:.2f}" if case.goal and row["method"] == OURS else ""
        table.add_row(row["method"], *numbers, goal)
    return table


def _round(case: Case, method: Method, device: str, compiled: bool, precision: str) -> Array:
    """Seconds per step (pairs, 2) of new twins."""
    twins, batch = build_twins(case, device)
    plain_module, watched_module = (classifier(net, case, compiled) for net in twins)
    with tempfile.TemporaryDirectory() as directory:
        plain = SteppedFit(plain_module, batch, pl.Callback(), precision=precision)
        watched = SteppedFit(watched_module, batch, method.callback(Path(directory), NEVER), precision=precision)
        turn = 10 if device == "cuda" or compiled else 1
        times = paired_times(plain, watched, case.pairs, turn=turn, warm_up=min(case.pairs, 2))
        plain.finish()
        watched.finish()
    return times


def _deferred(case: Case, method: Method, device: str, period: int) -> float:
    """Seconds per step of what the method puts off; see `deferred_time`."""
    (net, _), batch = build_twins(case, device)
    few = (batch[0][:2], batch[1][:2])
    with tempfile.TemporaryDirectory() as directory:
        fit = SteppedFit(classifier(net, case, False), few, method.callback(Path(directory), period))
        deferred = deferred_time(fit, period)
        fit.finish()
    return deferred


def classifier(net: nn.Module, case: Case, compiled: bool) -> Classifier:
    """What trains a net."""
    if compiled:  # at the first call, when the callbacks' hooks are there; else the twins would share one graph
        net.compile(isolate_recompiles=True)
    return Classifier(net, partial(torch.optim.SGD, lr=1e-3), classes=case.classes)


def _suitable_methods(case: Case, *, compiled: bool) -> list[str]:
    """Fewer for slower nets; for compiled ones none that break the graph at every layer."""
    if case.pairs == 1:
        return [OURS, ITEM]
    if compiled:
        return ["nothing", OURS]
    return list(METHODS) if case.pairs > 20 else list(METHODS)[:-1]


def _parser() -> argparse.ArgumentParser:
    options = parser("callback", __doc__, quick="two small nets and fewer pairs, under a minute")
    options.add_argument("--compile", action="store_true", help="compile the nets")
    options.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", help=", ".join(METHODS))
    return options
