"""Runs trained in a group equal single runs up to rounding, with callbacks, divergence, stops and interruptions.

The runs are short: three steps per epoch, with batches of 512, 512 and 413 digits.
"""

import copy
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from start_training.replicas.group import ReplicaGroup, _precision
from start_training.replicas.replica import Replica, mean_loss
from start_training.runs.directory import RunDirectory
from start_training.stop_signals import Interrupted
from tests.replica_jobs import assert_same_runs, checkpoint, differences, one_by_one, together
from tests.small_runs import composed

SMALL = ("model.depth=2", "model.width=8", "datamodule.batch_size=512", "trainer.precision=64-true")
CALLBACKS = {
    "lengths": {"_target_": "start_training.callbacks.activation_lengths.ActivationLengths", "every_n_steps": 2},
    "tests": {"_target_": "start_training.callbacks.test_metrics.TestMetrics", "every_n_epochs": 2},
    "phase": {"_target_": "start_training.callbacks.phase.Phase", "iterations": 4, "starts": 2},
    "start": {"_target_": "start_training.callbacks.start_of_training.StartOfTraining", "threshold": 0.12},
}
SEEDS = ("seed=0", "seed=1 optimizer.lr=0.1 optimizer.weight_decay=0.01")
# Weights that grow by a factor of 1e27 per step and overflow in the second epoch; and weights that overflow at once.
LATE = "optimizer.weight_decay=1e29 optimizer.momentum=0 optimizer.lr=0.01"
AT_ONCE = "optimizer.lr=1e200"


def configs(
    *overrides: str, job_overrides: tuple[str, ...] = SEEDS, **callbacks: dict[str, Any]
) -> list[dict[str, Any]]:
    """Compose configs with common overrides and callbacks; each string in `job_overrides` has overrides of one job."""
    settings = [composed(*SMALL, *overrides, *overrides_of_job.split()) for overrides_of_job in job_overrides]
    return [config | {"callbacks": copy.deepcopy(callbacks)} for config in settings]


def statuses(runs: list[Path]) -> list[str]:
    return [RunDirectory(run).summary()["status"] for run in runs]


BETWEEN = {name: {**CALLBACKS[name], "every_n_steps": 2} for name in ("lengths", "phase", "start")}
STOPPING = {"start": {**BETWEEN["start"], "stop": True}, "lengths": CALLBACKS["lengths"]}
CASES = {
    # training starts in the first epoch, in which test metrics are not measured
    "at ends of epochs": configs(
        *("schedule=one_cycle", "schedule.momentum=[0.95,0.5]"),
        **CALLBACKS | {"start": {**CALLBACKS["start"], "threshold": 0.03}},
    ),
    "between batches, up to a step in mid-epoch": configs(
        "trainer.max_steps=8", "datamodule.validation=0", job_overrides=("seed=0", LATE, AT_ONCE, SEEDS[1]), **BETWEEN
    ),
    "stopping where it has started": configs(
        *("optimizer=adam", "optimizer.lr=0.01"), job_overrides=("seed=0", "seed=1 optimizer.lr=1e-5"), **STOPPING
    ),
    "unwatched": configs(
        *("optimizer=adamw", "schedule=step", "schedule.every_epochs=1", "datamodule.validation=0"),
        job_overrides=("seed=0", "seed=1 optimizer.betas=[0.5,0.9]", AT_ONCE),
    ),
}
ENDS, BETWEEN_BATCHES, STOPPED, UNWATCHED = CASES


@pytest.fixture(scope="module")
def single_runs(tmp_path_factory) -> Callable[[str], list[Path]]:
    """Train the single runs of a case once."""

    @cache
    def trained(case: str) -> list[Path]:
        return one_by_one(tmp_path_factory.mktemp("one"), CASES[case])

    return trained


@pytest.mark.parametrize(
    ("case", "waits", "ends"),
    [
        (ENDS, False, ["completed"] * 2),
        (BETWEEN_BATCHES, False, ["completed", "diverged", "diverged", "completed"]),
        (BETWEEN_BATCHES, True, ["completed", "diverged", "diverged", "completed"]),
        (STOPPED, False, ["completed"] * 2),
        (UNWATCHED, True, ["completed", "completed", "diverged"]),
    ],
)
def test_runs_of_a_group_equal_single_runs(case, waits, ends, single_runs, tmp_path, monkeypatch):
    """`waits` simulates a device on which reading a value waits, so that diverged runs are dropped later."""
    monkeypatch.setattr("start_training.replicas.group._waits", lambda device: waits)
    runs = together(tmp_path, CASES[case])
    assert_same_runs(single_runs(case), runs)
    assert statuses(runs) == ends


def test_a_learning_rate_off_by_a_millionth_is_detected(single_runs, tmp_path):
    other = copy.deepcopy(CASES[ENDS])
    other[1]["optimizer"]["lr"] *= 1 + 1e-6
    runs = [differences(*pair) for pair in zip(single_runs(ENDS), together(tmp_path, other), strict=True)]
    assert not runs[0]
    assert any("state_dict" in difference for difference in runs[1])


@pytest.mark.parametrize("step", [3, 4], ids=["at the end of an epoch", "within one"])
def test_an_interrupted_group_resumes_to_the_same_runs(step, single_runs, tmp_path, monkeypatch):
    train_step = ReplicaGroup._train_step

    def step_and_signal(group: ReplicaGroup) -> None:
        train_step(group)
        if group.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(ReplicaGroup, "_train_step", step_and_signal)
        together(tmp_path, CASES[ENDS])
    runs = [tmp_path / str(index) for index in range(2)]
    assert statuses(runs) == ["interrupted"] * 2
    assert [checkpoint(run)["global_step"] for run in runs] == [step] * 2
    assert_same_runs(single_runs(ENDS), together(tmp_path, CASES[ENDS]))


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, [3, 6, 9]), (1e9, [9])])
def test_checkpoints_are_written_at_the_end_of_an_epoch_when_the_time_has_passed(seconds, steps, tmp_path, monkeypatch):
    """A run that diverges gets the checkpoint of the last epoch, from memory if it was not written."""
    written: list[int] = []
    save = ReplicaGroup._save

    def save_and_record(group: ReplicaGroup, replicas: list[Replica], **settings: bool) -> None:
        written.extend([group.step] if replicas else [])
        save(group, replicas, **settings)

    monkeypatch.setattr(ReplicaGroup, "_save", save_and_record)
    _, diverged = together(tmp_path, configs(job_overrides=("seed=0", LATE)), checkpoint_seconds=seconds)
    assert written == steps
    assert checkpoint(diverged)["global_step"] == 3


def test_the_mean_loss_of_an_epoch_weights_batches_by_size():
    assert mean_loss([1.0, 4.0], [3.0, 1.0]) == 1.75


def test_precision_is_selected_by_name():
    for name, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        with _precision(name, torch.device("cpu"))():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
