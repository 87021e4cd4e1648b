"""Measure the cost of a training step compared with a bare PyTorch loop, and the time of a multirun between two jobs.

All methods train the same net on the same tensors in memory, with batches of 1024 and SGD at 0.01 without momentum, on
MNIST if DATA_DIR has it, otherwise on random tensors of its shape. They take turns of one epoch, after some steps that
are not timed, in alternating order; each turn is a separate training. Whole steps are timed, including loading the
batch. The result of a round is the median ratio of its turns; the table shows the median and the range of six rounds.

  bare PyTorch loop     a permutation per epoch, index_select per batch, forward, backward, SGD, and nothing else
  Lightning, all off    the same under a Trainer that logs, saves and shows nothing
  lengths off           what scripts/train.py runs with callbacks=none logger=csv, with the progress bar off, and on
  lengths at every step the same with callbacks=lengths, progress bar off

The time of a step with lengths includes its share of writing the lengths every 100 steps, which is timed separately.
It does not include the end of an epoch (checkpoint, row of metrics, lengths to write), which the caption of the table
states. Jobs: a multirun of scripts/train.py in its own process, timed from the last step of a job to the first step of
the next.
"""

import copy
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from benchmarks._harness import Columns, Session, benchmark, goal_cell, results_table
from benchmarks._job_gaps import LOGGERS, job_gaps, jobs_table
from benchmarks._measuring import Array
from benchmarks._mnist import training_samples
from benchmarks._nets import critical_net
from benchmarks._stepped_fit import deferred_seconds
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
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.datamodules.samples import Samples
from start_training.models.classifier import Classifier

BATCH = 1024
PERIOD = 100  # steps after which lengths are written, the default
COLUMNS: Columns = {**STEP_COLUMNS, "goal": goal_cell("≤ {goal:g}")}
EPOCH = Turn(5, 59)  # an epoch of MNIST has 59 steps
OURS, OURS_WITH_BAR, LENGTHS = "lengths off", "lengths off, progress bar", "lengths at every step"
WAYS: dict[str, Train] = {
    BARE: partial(bare_turn, batch=BATCH),
    LIGHTNING: partial(lightning_turn, batch=BATCH),
    OURS: partial(run_turn, batch=BATCH),
    OURS_WITH_BAR: partial(run_turn, batch=BATCH, bar=True),
    LENGTHS: partial(run_turn, batch=BATCH, lengths=True),
}


@benchmark(quick="measure one small net and two jobs, in less than a minute", on_gpu=False, width=110)
def main(session: Session) -> None:
    quick = session.options.quick
    samples, source = training_samples()
    session.results["data"] = source
    for size, turns, rounds in [(10, 2, 2)] if quick else [(10, 8, 6), (30, 4, 6), (100, 1, 6)]:
        name = f"{size} x {size}"
        result = session.measure(name, measure, size, samples, turns=turns, rounds=rounds)
        ends = ", ".join(f"{value:.1f} ms {way}" for way, value in result["epoch_end_milliseconds"].items())
        caption = f"end of an epoch: {ends}"
        session.print(results_table(f"{name}, {source}", COLUMNS, result["steps"], caption=caption))
    loggers, jobs = ([*LOGGERS][:1], 2) if quick else ([*LOGGERS], 5)
    gaps = session.measure("jobs", lambda: {logger: job_gaps(logger, jobs=jobs) for logger in loggers}, key="jobs")
    session.print(jobs_table(gaps))


def goals(size: int) -> dict[str, float]:
    """Return by method the largest allowed ratio to the bare loop, for a net of `size` layers of `size` units."""
    without, with_lengths = (1.3, 1.45) if size < 30 else (1.1, 1.3)
    return {OURS: without, OURS_WITH_BAR: without, LENGTHS: with_lengths}


def measure(size: int, samples: Samples, *, turns: int, rounds: int = 6, turn: Turn = EPOCH) -> dict[str, Any]:
    """Time the steps of every method and the ends of epochs for one net.

    Args:
        size: Number of layers, and their width.
        samples: Training data.
        turns: Number of turns of each method in a round.
        rounds: Number of rounds.
        turn: Numbers of steps in a turn.
    Returns:
        `steps`: the rows of `summary`; `epoch_end_milliseconds`: the time of the end of an epoch without and with
        lengths.
    """
    net = critical_net(samples.inputs[0].numel(), size, size)
    times = time_steps(WAYS, net, samples, turn, turns=rounds * turns).reshape(rounds, turns, len(WAYS))
    module = Classifier(copy.deepcopy(net), SGD, classes=10)
    flush = deferred_seconds(
        module, samples, lambda directory, steps: ActivationLengths(directory, flush_every_n_steps=steps), PERIOD
    )
    ends = {way: epoch_end_seconds(net, samples, lengths=way == LENGTHS) for way in (OURS, LENGTHS)}
    return {"net": f"{size} x {size}", "rounds": rounds, "turns": turns} | {
        "steps": summary(times, flush, goals(size)),
        "epoch_end_milliseconds": {way: 1e3 * seconds for way, seconds in ends.items()},
    }


def summary(times: Array, flush: float, limits: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row of results for each method.

    Args:
        times: Seconds per step, shape (rounds, turns, ways).
        flush: Seconds per step of writing lengths, which are added to the method that measures them.
        limits: Largest allowed ratios by method, from `goals`.
    """
    flushes = {way: flush if way == LENGTHS else 0.0 for way in WAYS}
    rows = step_rows(WAYS, times + np.array([*flushes.values()]))
    for row in rows:
        limit = limits.get(row["way"])
        row["flush_microseconds"] = 1e6 * flushes[row["way"]]  # included in `added_microseconds`
        row |= {"goal": limit, "met": None if limit is None else row["ratio"] <= limit}
    return rows


def epoch_end_seconds(net: nn.Module, samples: Samples, *, lengths: bool = False, epochs: int = 20) -> float:
    """Return the median seconds from the last step of an epoch to the first of the next, including its loading.

    Epochs have two batches.
    """
    times, module = HookTimes(), Classifier(copy.deepcopy(net), SGD, classes=10)
    fit_run(module, training_loader(samples, BATCH, batches=2), times, lengths=lengths, epochs=epochs)
    steps = len(times.starts) // epochs
    return float(np.median(np.subtract(times.starts[steps::steps], times.ends[steps - 1 : -1 : steps])))
