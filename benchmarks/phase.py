"""What it costs to record the phase after each epoch, and what a step of such a run costs beside a bare PyTorch loop.

The net of the edge of chaos, one layer of N tanh units, at batches of 32 of 60,000 images, SGD; N = 784, and N = 196,
where 2 x 2 pixels are averaged. MNIST where DATA_DIR has it, else random tensors of its shape.

Steps: as in the benchmark `training`. Ways to train take turns of 1,000 steps each, after some that are not timed, in
alternating order; a turn is a training of its own, timed with loading its batches. A round's result is the median
ratio of its turns; reported is the median of six rounds, and their range.

  bare PyTorch loop     a permutation per epoch, index_select per batch, forward, backward, SGD, and nothing else
  Lightning, all off    the same under a Trainer that logs, saves and shows nothing
  callbacks off         what scripts/train.py runs with callbacks=none logger=csv, with the progress bar off
  callbacks=phase       the same with Phase, between its measurements

Ends of epochs: what Phase (measurement and writing) and TestMetrics (10,000 images) take there, timed in the same
rounds within epochs of two batches, and their share of an epoch: of its 1,875 steps with callbacks off.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._interleaved import Array, median_of_rounds
from benchmarks._machine import chosen_device, environment
from benchmarks._options import parser
from benchmarks._training_ways import (
    BARE,
    LIGHTNING,
    SGD,
    Turn,
    bare_turn,
    lightning_turn,
    our_trainer,
    our_turn,
    training_loader,
    training_samples,
)
from start_training.callbacks.phase import Phase
from start_training.callbacks.test_metrics import TestMetrics
from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.initializers.initialize import initialize_
from start_training.initializers.phase_point import PhasePoint
from start_training.models.classifier import Classifier
from start_training.models.square_layer import SquareLayer

BATCH = 32
TESTED = 10_000  # images of the test set
GOAL = 0.02  # of an epoch
OFF, PHASE = "callbacks off", "callbacks=phase"

WAYS: dict[str, Callable[[nn.Module, Samples, Turn], float]] = {
    BARE: partial(bare_turn, batch=BATCH),
    LIGHTNING: partial(lightning_turn, batch=BATCH),
    OFF: partial(our_turn, batch=BATCH),
    PHASE: lambda net, samples, turn: our_turn(net, samples, turn, Phase(), batch=BATCH),
}
WATCHERS: dict[str, Callable[[], pl.Callback]] = {"Phase": Phase, "TestMetrics": TestMetrics}


class Case(NamedTuple):
    """The side of the squares of pixels that are averaged, and how long to measure."""

    window: int
    turns: int = 2
    rounds: int = 6
    turn: Turn = Turn(50, 1_000)
    epochs: int = 5  # of two batches, whose ends are timed


def main(arguments: Sequence[str]) -> None:
    """Time steps and ends of epochs, print a table for each N, and write the numbers to a JSON file if asked to."""
    options = _parser().parse_args(arguments)
    surroundings, console, results = environment(chosen_device(options)), Console(), []
    samples, source = training_samples()
    for case in [Case(2, 1, 2, Turn(5, 100), 2)] if options.quick else [Case(1), Case(2)]:
        with console.status(f"window {case.window}"):
            results.append(measure(case, samples))
        console.print(results_table(results[-1], source))
    console.print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    if options.out:
        written = {"environment": surroundings, "data": source, "results": results}
        options.out.write_text(json.dumps(written, indent=2) + "\n")


def measure(case: Case, samples: Samples) -> dict[str, Any]:
    """Steps of every way and ends of epochs, in rounds of both; see `summary`."""
    net = SquareLayer(samples.inputs.shape[1:], 10, window=case.window)
    initialize_(net, PhasePoint(0.0, 0.5), generator=torch.Generator().manual_seed(0))
    steps, ends = np.empty((case.rounds, case.turns, len(WAYS))), np.empty((case.rounds, len(WATCHERS)))
    for index in range(case.rounds * case.turns):
        order = list(enumerate(WAYS.values()))
        for column, way in order if index % 2 == 0 else reversed(order):
            steps[divmod(index, case.turns)][column] = way(copy.deepcopy(net), samples, case.turn)
        if index % case.turns == 0:
            ends[index // case.turns] = [end_seconds(net, samples, build, case.epochs) for build in WATCHERS.values()]
    return {"N": net.width, "rounds": case.rounds, "turns": case.turns, **summary(steps, ends, samples.size)}


def summary(steps: Array, ends: Array, samples: int) -> dict[str, Any]:
    """Of seconds per step (rounds, turns, ways) and per end of an epoch (rounds, watchers).

    `ratio`: of a way's steps to the bare loop's, the median of the rounds' medians; `range` is theirs. `share`: of an
    end of an epoch to all of the epoch's steps with callbacks off, likewise.
    """
    bare, off = steps[..., 0], steps[..., [*WAYS].index(OFF)]
    ways = []
    for column, way in enumerate(WAYS):
        ratio, least, greatest = median_of_rounds(np.median(steps[..., column] / bare, axis=1))
        added = 1e6 * float(np.median(np.median(steps[..., column] - bare, axis=1)))
        milliseconds = 1e3 * float(np.median(steps[..., column]))
        numbers = {"milliseconds": milliseconds, "added_microseconds": added, "ratio": ratio}
        ways.append({"way": way, **numbers, "range": [least, greatest]})
    epochs = np.median(off, axis=1) * -(-samples // BATCH)
    watchers = []
    for column, name in enumerate(WATCHERS):
        share, least, greatest = median_of_rounds(ends[:, column] / epochs)
        milliseconds = 1e3 * float(np.median(ends[:, column]))
        numbers = {"milliseconds": milliseconds, "share_of_epoch": share}
        watchers.append({"watcher": name, **numbers, "range": [least, greatest]})
    return {"steps": ways, "epoch_seconds": float(np.median(epochs)), "ends": watchers}


def end_seconds(net: nn.Module, samples: Samples, build: Callable[[], pl.Callback], epochs: int) -> float:
    """The median over epochs, of two batches each, of what a callback takes at the end of one."""
    few = Samples(samples.inputs[: 2 * BATCH], samples.targets[: 2 * BATCH])
    tested = Samples(samples.inputs[-TESTED:], samples.targets[-TESTED:])
    before, after = _Clock(), _Clock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = our_trainer(Path(directory), before, build(), after, max_epochs=epochs)
        trainer.fit(_Tested(copy.deepcopy(net), tested), training_loader(few, BATCH), [])
    return float(np.median(np.subtract(after.times, before.times)))


class _Clock(pl.Callback):
    """Notes when the callback after it begins with an epoch's end, or the one before it is done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times.append(time.perf_counter())


class _Tested(Classifier):
    """With a test set."""

    def __init__(self, net: nn.Module, tested: Samples) -> None:
        super().__init__(net, SGD, classes=10)
        self.tested = tested

    def test_dataloader(self) -> EvaluationLoader:
        return EvaluationLoader(self.tested, 1_000)


def results_table(result: dict[str, Any], source: str) -> Table:
    """One row per way, and below them what the ends of epochs cost."""
    ends = "; ".join(
        f"{row['watcher']} {row['milliseconds']:.1f} ms, {row['share_of_epoch']:.2%} of an epoch "
        f"({row['range'][0]:.2%}–{row['range'][1]:.2%})"
        for row in result["ends"]
    )
    table = Table(
        title=f"N = {result['N']}, batch {BATCH}, {source}; an epoch takes {result['epoch_seconds']:.2f} s",
        caption=f"at an epoch's end: {ends}; goal for Phase ≤ {GOAL:.0%}",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE,
    )
    table.add_column("way", no_wrap=True)
    for heading in ("ms/step", "added, µs", "× bare", "range of rounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["steps"]:
        numbers = [f"{row['milliseconds']:.3f}", f"{row['added_microseconds']:.0f}", f"{row['ratio']:.3f}"]
        table.add_row(row["way"], *numbers, f"{row['range'][0]:.3f}–{row['range'][1]:.3f}")
    return table


def _parser() -> argparse.ArgumentParser:
    return parser("phase", __doc__, quick="N = 196 alone and few steps, some seconds", device=False)
