"""Interrupted groups, and runs of groups that resume without a group, give the results of uninterrupted runs."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from start_training.replicas.group import ReplicaGroup
from start_training.runs.directory import RunDirectory
from start_training.stop_signals import Interrupted
from start_training.training.train import train
from tests.replica_jobs import DOUBLE, assert_same_runs, checkpoint, jobs, one_by_one, together
from tests.signalling import SignalAtStep
from tests.small_runs import composed
from tests.sweeps import untouched

LENGTH = 11  # steps of an epoch
PHASES = ("model=tanh_layer", "initializer=phase", "callbacks=phase", "callbacks.phase.every_n_steps=3")
WATCHED = ("callbacks=start_of_training", "callbacks.start_of_training.every_n_steps=5", "schedule=one_cycle")


def three(*overrides: str) -> list[dict]:
    """Compose the configs of three runs of 33 steps."""
    overrides_of_jobs = (("seed=0",), ("seed=1", "optimizer.lr=0.003"), ("seed=2", "optimizer.weight_decay=0.01"))
    return [composed(*DOUBLE, *overrides, *job) for job in overrides_of_jobs]


def signalled(patch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
    """Send this process a signal after the update of a given step of its group."""
    train_step = ReplicaGroup._train_step

    def step_and_signal(self: ReplicaGroup) -> None:
        train_step(self)
        for _ in range(times if self.step == step else 0):
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(ReplicaGroup, "_train_step", step_and_signal)


def interrupt_group(root: Path, configs: list[dict], step: int) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, step)
        together(root, configs)


def interrupt_each(root: Path, configs: list[dict], step: int) -> None:
    for job in jobs(root, configs):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr("start_training.training.train.Divergence", lambda *_: SignalAtStep(step, "SIGINT"))
            train(job)


def states(root: Path) -> list[str]:
    return [RunDirectory(root / str(index)).state for index in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [PHASES, (*WATCHED, "optimizer=adamw", "trainer.max_steps=20")], ids=len)
def test_an_interrupted_group_writes_the_files_of_interrupted_single_runs_and_resumes(alone, tmp_path, overrides):
    """Checkpoints of groups and single runs are interchangeable."""
    configs, group, one = three(*overrides)[:2], tmp_path / "group", tmp_path / "one"
    interrupt_group(group, configs, 16)
    interrupt_each(one, configs, 16)
    assert_same_runs([one / "0", one / "1"], [group / "0", group / "1"])
    assert states(group)[:2] == ["interrupted"] * 2
    shutil.rmtree(group / "1")
    shutil.copytree(one / "1", group / "1")
    assert_same_runs(alone(configs), together(group, configs))


def test_a_run_that_diverged_before_a_signal_has_status_diverged(alone, tmp_path, monkeypatch):
    """On a device on which reading a value waits, losses are checked at the end of an epoch."""
    configs = [*three()[:2], *three("optimizer.lr=1e200")[2:]]
    monkeypatch.setattr("start_training.replicas.group._waits", lambda device: True)
    interrupt_group(tmp_path, configs, 5)
    assert states(tmp_path) == ["interrupted", "interrupted", "diverged"]
    assert_same_runs(alone(configs), together(tmp_path, configs))


def test_a_run_that_ended_within_an_epoch_and_lost_its_summary_ends_the_same_way_again(alone, tmp_path):
    """As if the process was killed after the checkpoint and before the summary."""
    configs = three("trainer.max_steps=16", *PHASES)
    together(tmp_path, configs)
    for index in range(3):
        (tmp_path / str(index) / "summary.json").unlink()
    assert_same_runs(alone(configs), together(tmp_path, configs))


def test_jobs_at_different_steps_are_trained_in_separate_groups(alone, tmp_path, monkeypatch):
    """Also a job that was interrupted after its last step."""
    configs, sizes, train = three(), [], ReplicaGroup.train
    interrupt_each(tmp_path / "late", configs[2:], 3 * LENGTH)
    interrupt_group(tmp_path, configs[:2], 16)
    shutil.move(tmp_path / "late" / "0", tmp_path / "2")
    monkeypatch.setattr(
        ReplicaGroup, "train", lambda self: sizes.append((len(self.replicas), self.step)) or train(self)
    )
    assert_same_runs(alone(configs), together(tmp_path, configs))
    assert sizes == [(2, 16), (1, 33)]


def test_finished_and_locked_jobs_are_skipped(tmp_path, capsys):
    configs = three("trainer.max_epochs=1")
    one_by_one(tmp_path, configs[:1])
    before, held = untouched(tmp_path), RunDirectory(tmp_path / "1")
    held.claim(configs[1])
    together(tmp_path, configs)
    held.release()
    assert "another process is writing a run here" in capsys.readouterr().err
    assert before.items() <= untouched(tmp_path).items()
    assert states(tmp_path) == ["completed", "absent", "completed"]


@pytest.mark.parametrize("end", [ZeroDivisionError, SystemError])
def test_a_failed_group_starts_anew_and_a_killed_group_resumes_from_its_last_checkpoint(
    alone, tmp_path, monkeypatch, end
):
    """With checkpoint_seconds = 0, at most one epoch is lost; a killed process writes no summary."""
    configs, taken, train_step = three(), [], ReplicaGroup._train_step
    killed = end is SystemError

    def ends(self: ReplicaGroup) -> None:
        if self.step == 2 * LENGTH + 4:
            raise end

    with pytest.MonkeyPatch.context() as patch, pytest.raises(end):
        patch.setattr(ReplicaGroup, "_measure_between_batches", ends)
        if killed:
            patch.setattr(RunDirectory, "write_summary", lambda *_: None)
        together(tmp_path, configs, checkpoint_seconds=0)
    assert states(tmp_path) == ["killed" if killed else "failed"] * 3
    monkeypatch.setattr(ReplicaGroup, "_train_step", lambda self: taken.append(self.step) or train_step(self))
    assert_same_runs(alone(configs), together(tmp_path, configs))
    assert taken == list(range(2 * LENGTH if killed else 0, 3 * LENGTH))


def test_a_second_signal_ends_a_group_immediately_and_a_signal_after_the_last_step_is_raised(tmp_path):
    """Otherwise a sweep would continue with the next group after a signal."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("start_training.stop_signals.SAME_REQUEST", 0.0)
        signalled(patch, 16, times=2)
        together(tmp_path, three(), checkpoint_seconds=0)
    assert states(tmp_path) == ["interrupted"] * 3
    assert [checkpoint(tmp_path / str(index))["global_step"] for index in range(3)] == [LENGTH] * 3
    interrupt_group(tmp_path, three(), 3 * LENGTH)
    assert states(tmp_path) == ["completed"] * 3
