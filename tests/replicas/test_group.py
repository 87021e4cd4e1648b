"""A group's runs leave what their own runs leave, to rounding, whatever watches them, ends them or cuts them off.

The shortest that show it: three steps an epoch, of batches of 512, 512 and 413 digits.
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
from start_training.runs.outcome import Interrupted
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
# Weights that grow by 1e27 a step, whose loss overflows in the second epoch; and such as overflow at once.
LATE = "optimizer.weight_decay=1e29 optimizer.momentum=0 optimizer.lr=0.01"
AT_ONCE = "optimizer.lr=1e200"


def configs(*overrides: str, each: tuple[str, ...] = SEEDS, **callbacks: dict[str, Any]) -> list[dict[str, Any]]:
    """Of jobs that have overrides and callbacks in common, each with some settings of its own."""
    settings = [composed(*SMALL, *overrides, *own.split()) for own in each]
    return [config | {"callbacks": copy.deepcopy(callbacks)} for config in settings]


def statuses(runs: list[Path]) -> list[str]:
    return [RunDirectory(run).summary()["status"] for run in runs]


BETWEEN = {name: {**CALLBACKS[name], "every_n_steps": 2} for name in ("lengths", "phase", "start")}
STOPPING = {"start": {**BETWEEN["start"], "stop": True}, "lengths": CALLBACKS["lengths"]}
CASES = {
    # starts in its first epoch, in which the test metrics are not due
    "at ends of epochs": configs(
        *("schedule=one_cycle", "schedule.momentum=[0.95,0.5]"),
        **CALLBACKS | {"start": {**CALLBACKS["start"], "threshold": 0.03}},
    ),
    "between batches, up to a step in mid-epoch": configs(
        "trainer.max_steps=8", "datamodule.validation=0", each=("seed=0", LATE, AT_ONCE, SEEDS[1]), **BETWEEN
    ),
    "stopping where it has started": configs(
        *("optimizer=adam", "optimizer.lr=0.01"), each=("seed=0", "seed=1 optimizer.lr=1e-5"), **STOPPING
    ),
    "unwatched": configs(
        *("optimizer=adamw", "schedule=step", "schedule.every_epochs=1", "datamodule.validation=0"),
        each=("seed=0", "seed=1 optimizer.betas=[0.5,0.9]", AT_ONCE),
    ),
}
ENDS, BETWEEN_BATCHES, STOPPED, UNWATCHED = CASES


@pytest.fixture(scope="module")
def runs_of_their_own(tmp_path_factory) -> Callable[[str], list[Path]]:
    """Those of a case, trained once."""

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
def test_runs_of_a_group_are_the_runs_that_they_would_be(case, waits, ends, runs_of_their_own, tmp_path, monkeypatch):
    """waits: on a device that one waits for, where those that diverge leave later."""
    monkeypatch.setattr("start_training.replicas.group._waits", lambda device: waits)
    found = together(tmp_path, CASES[case])
    assert_same_runs(runs_of_their_own(case), found)
    assert statuses(found) == ends


def test_a_rate_that_is_a_millionth_off_would_be_noticed(runs_of_their_own, tmp_path):
    other = copy.deepcopy(CASES[ENDS])
    other[1]["optimizer"]["lr"] *= 1 + 1e-6
    found = [differences(*pair) for pair in zip(runs_of_their_own(ENDS), together(tmp_path, other), strict=True)]
    assert not found[0]
    assert any("state_dict" in each for each in found[1])


@pytest.mark.parametrize("step", [3, 4], ids=["at the end of an epoch", "within one"])
def test_a_group_that_a_signal_cuts_off_goes_on_to_the_same_runs(step, runs_of_their_own, tmp_path, monkeypatch):
    take_step = ReplicaGroup._train_step

    def take(group: ReplicaGroup) -> None:
        take_step(group)
        if group.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(ReplicaGroup, "_train_step", take)
        together(tmp_path, CASES[ENDS])
    runs = [tmp_path / str(index) for index in range(2)]
    assert statuses(runs) == ["interrupted"] * 2
    assert [checkpoint(run)["global_step"] for run in runs] == [step] * 2
    assert_same_runs(runs_of_their_own(ENDS), together(tmp_path, CASES[ENDS]))


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, [3, 6, 9]), (1e9, [9])])
def test_checkpoints_of_ends_of_epochs_are_written_when_it_is_time(seconds, steps, tmp_path, monkeypatch):
    """A run that diverges meanwhile has the last one, from memory where it was not written."""
    written: list[int] = []
    save = ReplicaGroup._save

    def note(group: ReplicaGroup, replicas: list[Replica], **settings: bool) -> None:
        written.extend([group.step] if replicas else [])
        save(group, replicas, **settings)

    monkeypatch.setattr(ReplicaGroup, "_save", note)
    _, diverged = together(tmp_path, configs(each=("seed=0", LATE)), checkpoint_seconds=seconds)
    assert written == steps
    assert checkpoint(diverged)["global_step"] == 3


def test_an_epochs_mean_loss_weighs_batches_by_their_samples():
    assert mean_loss([1.0, 4.0], [3.0, 1.0]) == 1.75


def test_half_precision_is_asked_for_by_its_name():
    for name, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        with _precision(name, torch.device("cpu"))():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
