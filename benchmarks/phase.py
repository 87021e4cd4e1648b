"""Measure the cost of recording the phase after each epoch, and of steps of such a run compared with a bare loop.

The net is that of the edge of chaos, one layer of N tanh units, trained by SGD on batches of 32 of 60,000 images;
N = 784, or N = 196, where 2 x 2 pixels are averaged. The data are MNIST if DATA_DIR has it, otherwise random tensors of
its shape.

Steps are timed as in the benchmark `training`. The methods take turns of 1,000 steps each, after some steps that are
not timed, in alternating order; each turn is a separate training, and loading its batches is included. The result of a
round is the median ratio of its turns; the table shows the median and the range of six rounds.

  bare PyTorch loop     a permutation per epoch, index_select per batch, forward, backward, SGD, and nothing else
  Lightning, all off    the same under a Trainer that logs, saves and shows nothing
  callbacks off         what scripts/train.py runs with callbacks=none logger=csv, with the progress bar off
  callbacks=phase       the same with the callback Phase, in steps without a measurement

Ends of epochs: the time of Phase (measurement and writing) and of TestMetrics (10,000 images) at the end of an epoch,
timed in the same rounds in epochs of two batches, and divided by the time of 1,875 steps with callbacks off.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from benchmarks._harness import Session, benchmark, results_table
from benchmarks._measuring import Array, spread
from benchmarks._mnist import training_samples
from benchmarks._training_ways import (
    BARE,
    LIGHTNING,
    SGD,
    STEP_COLUMNS,
    HookTimes,
    Train,
    Turn,
    bare_turn,
    fit_run,
    lightning_turn,
    run_turn,
    step_rows,
    time_steps,
    training_loader,
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
TESTED = 10_000  # number of images of the test set
GOAL = 0.02  # largest time of Phase as a fraction of the time of an epoch
END = "{watcher} {milliseconds:.1f} ms, {share_of_epoch:.2%} of an epoch ({range[0]:.2%}–{range[1]:.2%})"
TURN = Turn(50, 1_000)
OFF, PHASE = "callbacks off", "callbacks=phase"
WAYS: dict[str, Train] = {
    BARE: partial(bare_turn, batch=BATCH),
    LIGHTNING: partial(lightning_turn, batch=BATCH),
    OFF: partial(run_turn, batch=BATCH),
    PHASE: lambda net, samples, turn: run_turn(net, samples, turn, Phase(), batch=BATCH),
}
WATCHERS: dict[str, Callable[[], pl.Callback]] = {"Phase": Phase, "TestMetrics": TestMetrics}


@benchmark(quick="measure only N = 196 with few steps, in some seconds", on_gpu=False)
def main(session: Session) -> None:
    samples, source = training_samples()
    session.results["data"] = source
    quick: dict[str, Any] = (
        {"turns": 1, "rounds": 2, "turn": Turn(5, 100), "epochs": 2} if session.options.quick else {}
    )
    for window in (2,) if quick else (1, 2):
        result = session.measure(f"window {window}", measure, window, samples, **quick)
        title = f"N = {result['N']}, batch {BATCH}, {source}; an epoch takes {result['epoch_seconds']:.2f} s"
        ends = "; ".join(END.format(**row) for row in result["ends"])
        caption = f"at the end of an epoch: {ends}; goal for Phase ≤ {GOAL:.0%}"
        session.print(results_table(title, STEP_COLUMNS, result["steps"], caption=caption))


def measure(
    window: int, samples: Samples, *, turns: int = 2, rounds: int = 6, turn: Turn = TURN, epochs: int = 5
) -> dict[str, Any]:
    """Time the steps of every method and the ends of epochs, both in each round.

    Args:
        window: Side of the squares of pixels that are averaged.
        samples: Training data.
        turns: Number of turns of each method in a round.
        rounds: Number of rounds.
        turn: Numbers of steps in a turn.
        epochs: Number of epochs, of two batches, whose ends are timed in each round.
    Returns:
        The number of units N and the results of `summary`.
    """
    net = SquareLayer(samples.inputs.shape[1:], 10, window=window)
    initialize_(net, PhasePoint(0.0, 0.5), generator=torch.Generator().manual_seed(0))
    steps, ends = [], []
    for index in range(rounds):
        steps.append(time_steps(WAYS, net, samples, turn, turns=turns, first=index * turns))
        ends.append([end_seconds(net, samples, build(), epochs) for build in WATCHERS.values()])
    numbers = summary(np.array(steps), np.array(ends), samples.size)
    return {"N": net.width, "rounds": rounds, "turns": turns, **numbers}


def summary(steps: Array, ends: Array, samples: int) -> dict[str, Any]:
    """Return ratios of the times of steps, and times of ends of epochs as fractions of an epoch.

    Args:
        steps: Seconds per step, shape (rounds, turns, ways).
        ends: Seconds per end of an epoch, shape (rounds, watchers).
        samples: Number of samples in an epoch.
    Returns:
        `steps`: the rows of `step_rows`. `ends`: a row for each of `WATCHERS` with its time as a fraction of the time
        of all steps of an epoch with callbacks off, and the range of this fraction over rounds.
    """
    epochs = np.median(steps[..., [*WAYS].index(OFF)], axis=1) * -(-samples // BATCH)
    watchers = []
    for name, seconds in zip(WATCHERS, ends.T, strict=True):
        share = spread(seconds / epochs)
        row = {
            "watcher": name,
            "milliseconds": 1e3 * float(np.median(seconds)),
            "share_of_epoch": share.median,
            "range": [share.least, share.greatest],
        }
        watchers.append(row)
    return {"steps": step_rows(WAYS, steps), "epoch_seconds": float(np.median(epochs)), "ends": watchers}


def end_seconds(net: nn.Module, samples: Samples, watcher: pl.Callback, epochs: int) -> float:
    """Return the median seconds that a callback takes at the end of an epoch; epochs have two batches."""
    module, before, after = Classifier(copy.deepcopy(net), SGD, classes=10), HookTimes(), HookTimes()
    tested = EvaluationLoader(Samples(samples.inputs[-TESTED:], samples.targets[-TESTED:]), 1_000)
    module.test_dataloader = lambda: tested  # type: ignore[method-assign]
    fit_run(module, training_loader(samples, BATCH, batches=2), before, watcher, after, epochs=epochs)
    return float(np.median(np.subtract(after.epoch_ends, before.epoch_ends)))
