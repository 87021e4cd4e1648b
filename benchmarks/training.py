"""What a training step of a run costs compared with a bare PyTorch loop, and how long a multirun takes between jobs.

The same net, the same tensors in memory, batches of 1024, SGD at 0.01 without momentum, on MNIST where DATA_DIR has
it, else on random tensors of its shape. The ways to train take turns of one epoch, after some steps that are not
timed, in alternating order; a turn is a training of its own. Timed are whole steps, loading the batch included. A
round's result is the median ratio of its turns; reported are the median of six rounds, and their range.

  bare PyTorch loop     a permutation per epoch, index_select per batch, forward, backward, SGD, and nothing else
  Lightning, all off    the same under a Trainer that logs, saves and shows nothing
  lengths off           what scripts/train.py runs with callbacks=none logger=csv, with the progress bar off, and on
  lengths at every step the same with callbacks=lengths, progress bar off

Each step with lengths is charged with its share of writing them every 100 steps, which is timed separately. Steps are
not charged with the end of an epoch (checkpoint, row of metrics, lengths to write), which the table's last line states.
Jobs: a multirun of scripts/train.py in a process of its own, from one job's last step to the next one's first.
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
EPOCH = Turn(5, 59)  # of MNIST
OURS, OURS_WITH_BAR, LENGTHS = "lengths off", "lengths off, progress bar", "lengths at every step"
WAYS: dict[str, Train] = {
    BARE: partial(bare_turn, batch=BATCH),
    LIGHTNING: partial(lightning_turn, batch=BATCH),
    OURS: partial(run_turn, batch=BATCH),
    OURS_WITH_BAR: partial(run_turn, batch=BATCH, bar=True),
    LENGTHS: partial(run_turn, batch=BATCH, lengths=True),
}


@benchmark(quick="one small net and two jobs, under a minute", on_gpu=False, width=110)
def main(session: Session) -> None:
    """Time steps, ends of epochs and jobs, and print a table of each."""
    quick = session.options.quick
    samples, source = training_samples()
    session.results["data"] = source
    for size, turns, rounds in [(10, 2, 2)] if quick else [(10, 8, 6), (30, 4, 6), (100, 1, 6)]:
        name = f"{size} x {size}"
        result = session.measure(name, measure, size, samples, turns=turns, rounds=rounds)
        ends = ", ".join(f"{value:.1f} ms {way}" for way, value in result["epoch_end_milliseconds"].items())
        caption = f"an epoch's end: {ends}"
        session.print(results_table(f"{name}, {source}", COLUMNS, result["steps"], caption=caption))
    loggers, jobs = ([*LOGGERS][:1], 2) if quick else ([*LOGGERS], 5)
    gaps = session.measure("jobs", lambda: {logger: job_gaps(logger, jobs=jobs) for logger in loggers}, key="jobs")
    session.print(jobs_table(gaps))


def goals(size: int) -> dict[str, float]:
    """By way, the ratio to the bare loop that is not to be exceeded, of a net of `size` layers of `size`."""
    without, with_lengths = (1.3, 1.45) if size < 30 else (1.1, 1.3)
    return {OURS: without, OURS_WITH_BAR: without, LENGTHS: with_lengths}


def measure(size: int, samples: Samples, *, turns: int, rounds: int = 6, turn: Turn = EPOCH) -> dict[str, Any]:
    """Steps of every way, and ends of epochs, of one net.

    Args:
        size: Number of layers, and their width.
        samples: What the net is trained on.
        turns: Of each way in a round.
        rounds: How many.
        turn: How long a turn is.
    Returns:
        The rows of `summary`, as `steps`, and the milliseconds of an epoch's end without and with lengths.
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
    """A row for each way.

    Args:
        times: Seconds per step, (rounds, turns, ways).
        flush: Seconds per step of writing lengths, which are added to the way that measures them.
        limits: As from `goals`.
    """
    flushes = {way: flush if way == LENGTHS else 0.0 for way in WAYS}
    rows = step_rows(WAYS, times + np.array([*flushes.values()]))
    for row in rows:
        limit = limits.get(row["way"])
        row["flush_microseconds"] = 1e6 * flushes[row["way"]]  # a part of those added
        row |= {"goal": limit, "met": None if limit is None else row["ratio"] <= limit}
    return rows


def epoch_end_seconds(net: nn.Module, samples: Samples, *, lengths: bool = False, epochs: int = 20) -> float:
    """The median time from the last step of an epoch, of two batches, to the first of the next, loading it included."""
    times, module = HookTimes(), Classifier(copy.deepcopy(net), SGD, classes=10)
    fit_run(module, training_loader(samples, BATCH, batches=2), times, lengths=lengths, epochs=epochs)
    steps = len(times.starts) // epochs
    return float(np.median(np.subtract(times.starts[steps::steps], times.ends[steps - 1 : -1 : steps])))
