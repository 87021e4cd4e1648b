"""A Record works with any object that has the attributes of a Trainer that it reads."""

import signal
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
import pytorch_lightning as pl
import torch

from start_training.callbacks.range_test import RangeTest
from start_training.callbacks.start_of_training import StartOfTraining
from start_training.callbacks.test_metrics import TestMetrics
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.outcome import Diverged, RunLost
from start_training.stop_signals import Interrupted
from start_training.training.record import Record, end_reason


@dataclass
class Trained:
    """The attributes of a Trainer that a Record reads."""

    global_step: int = 22
    current_epoch: int = 2
    callback_metrics: dict[str, torch.Tensor] = field(default_factory=lambda: {"test/accuracy": torch.tensor(0.5)})
    max_epochs: int | None = 2
    max_steps: int = -1
    should_stop: bool = False
    callbacks: list[pl.Callback] = field(default_factory=list)


def recorded(config, directory, trained, error=None):
    run, job = RunDirectory(directory), Job(config(), directory)
    run.claim(job.config)
    with Record(job, run, trainer=trained):
        run.begin(job.config)
        if error:
            raise error
    return run.summary()


def test_a_record_without_a_trainer_writes_the_summary(config, tmp_path):
    tests = TestMetrics()
    tests.add(1, 11, 0.7, 0.4)
    summary = recorded(config, tmp_path, Trained(callbacks=[tests]))
    assert (summary["status"], summary["reason"]) == ("completed", "max_epochs = 2 reached")
    assert (summary["steps"], summary["epochs"]) == (22, 2)
    assert summary["metrics"] == {"test/accuracy": 0.5}
    assert summary["lowest_test_loss"] == {"epoch": 1, "step": 11, "loss": 0.7, "accuracy": 0.4}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Diverged(5), "diverged", "the training loss at step 5 is not finite"),
        (Interrupted(signal.SIGTERM), "interrupted", "SIGTERM"),
        (KeyboardInterrupt(), "interrupted", "stopped by a KeyboardInterrupt"),
        (RuntimeError("no\nluck"), "failed", "RuntimeError: no luck"),
        (MemoryError("no\nluck"), "interrupted", "out of memory (MemoryError: no luck)"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_status_and_reason_follow_from_the_error_that_ended_the_run(config, tmp_path, error, status, reason):
    raised = RunLost if isinstance(error, MemoryError) else type(error)
    with nullcontext() if status == "diverged" else pytest.raises(raised):
        recorded(config, tmp_path, Trained(global_step=6), error)
    summary = RunDirectory(tmp_path).summary()
    assert (summary["status"], summary["steps"]) == (status, 6)
    assert reason in summary["reason"]


def started() -> StartOfTraining:
    start = StartOfTraining(stop=True)
    start.add(0.25, epoch=1, step=11)
    return start


@pytest.mark.parametrize(
    ("trained", "reason"),
    [
        (Trained(max_epochs=None, max_steps=22), "max_steps = 22 reached"),
        (Trained(max_steps=23), "max_epochs = 2 reached"),  # max_steps may not be reached at the end of the last epoch
        (Trained(should_stop=True), "stopped by a callback"),
        (
            Trained(callbacks=[started()], should_stop=True),
            "training started in epoch 1 (step 11): test accuracy 25.00% ≥ 20%",
        ),
    ],
)
def test_the_end_reason_is_found_without_a_trainer(trained, reason):
    assert end_reason(trained) == reason


def test_a_range_test_that_did_not_run_is_not_the_end_reason():
    assert end_reason(Trained(callbacks=[RangeTest(stop=True)])) == "max_epochs = 2 reached"
