"""Groups that were cut off, and runs of groups that go on by themselves, are those that were left alone."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from start_training.replicas.group import ReplicaGroup
from start_training.runs.directory import RunDirectory
from start_training.runs.outcome import Interrupted
from start_training.training.train import train
from tests.replica_jobs import DOUBLE, assert_same_runs, checkpoint, jobs, one_by_one, together
from tests.signalling import SignalAtStep
from tests.small_runs import composed
from tests.sweeps import untouched

LENGTH = 11  # steps of an epoch
PHASES = ("model=tanh_layer", "initializer=phase", "callbacks=phase", "callbacks.phase.every_n_steps=3")
WATCHED = ("callbacks=start_of_training", "callbacks.start_of_training.every_n_steps=5", "schedule=one_cycle")


def three(*overrides: str) -> list[dict]:
    """The configs of three runs of 33 steps."""
    own = (("seed=0",), ("seed=1", "optimizer.lr=0.003"), ("seed=2", "optimizer.weight_decay=0.01"))
    return [composed(*DOUBLE, *overrides, *each) for each in own]


def signalled(patch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
    """Let this process get a signal while its group is at a step, after the update."""
    take_step = ReplicaGroup._train_step

    def take(self: ReplicaGroup) -> None:
        take_step(self)
        for _ in range(times if self.step == step else 0):
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(ReplicaGroup, "_train_step", take)


def interrupt_group(root: Path, configs: list[dict], step: int) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, step)
        together(root, configs)


def interrupt_each(root: Path, configs: list[dict], step: int) -> None:
    for job in jobs(root, configs):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr("start_training.training.train.Divergence", lambda: SignalAtStep(step, "SIGINT"))
            train(job)


def states(root: Path) -> list[str]:
    return [RunDirectory(root / str(index)).state for index in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [PHASES, (*WATCHED, "optimizer=adamw", "trainer.max_steps=20")], ids=len)
def test_an_interrupted_group_leaves_what_its_runs_would_leave_and_goes_on(alone, tmp_path, overrides):
    """From checkpoints as of its runs, so that these go on from a group's, and a group from theirs."""
    configs, group, one = three(*overrides)[:2], tmp_path / "group", tmp_path / "one"
    interrupt_group(group, configs, 16)
    interrupt_each(one, configs, 16)
    assert_same_runs([one / "0", one / "1"], [group / "0", group / "1"])
    assert states(group)[:2] == ["interrupted"] * 2
    shutil.rmtree(group / "1")
    shutil.copytree(one / "1", group / "1")
    assert_same_runs(alone(configs), together(group, configs))


def test_what_has_diverged_unseen_when_a_signal_comes_has_diverged(alone, tmp_path, monkeypatch):
    """On a device for which one waits, where losses are looked at as epochs end."""
    configs = [*three()[:2], *three("optimizer.lr=1e200")[2:]]
    monkeypatch.setattr("start_training.replicas.group._waits", lambda device: True)
    interrupt_group(tmp_path, configs, 5)
    assert states(tmp_path) == ["interrupted", "interrupted", "diverged"]
    assert_same_runs(alone(configs), together(tmp_path, configs))


def test_a_run_that_ended_in_mid_epoch_and_lost_its_summary_ends_the_same_again(alone, tmp_path):
    """As where it was killed between its checkpoint and its summary, which others of its group come before."""
    configs = three("trainer.max_steps=16", *PHASES)
    together(tmp_path, configs)
    for index in range(3):
        (tmp_path / str(index) / "summary.json").unlink()
    assert_same_runs(alone(configs), together(tmp_path, configs))


def test_members_that_stand_at_different_steps_train_apart(alone, tmp_path, monkeypatch):
    """Also those that were interrupted after their last step."""
    configs, sizes, own = three(), [], ReplicaGroup.train
    interrupt_each(tmp_path / "late", configs[2:], 3 * LENGTH)
    interrupt_group(tmp_path, configs[:2], 16)
    shutil.move(tmp_path / "late" / "0", tmp_path / "2")
    monkeypatch.setattr(ReplicaGroup, "train", lambda self: sizes.append((len(self.replicas), self.step)) or own(self))
    assert_same_runs(alone(configs), together(tmp_path, configs))
    assert sizes == [(2, 16), (1, 33)]


def test_what_is_finished_and_what_another_process_holds_is_left_alone(tmp_path, capsys):
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
def test_a_failed_group_begins_anew_and_one_that_died_at_its_last_checkpoint(alone, tmp_path, monkeypatch, end):
    """With no seconds between checkpoints, no more than an epoch is lost; who is killed leaves no summary."""
    configs, taken, take_step = three(), [], ReplicaGroup._train_step
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
    monkeypatch.setattr(ReplicaGroup, "_train_step", lambda self: taken.append(self.step) or take_step(self))
    assert_same_runs(alone(configs), together(tmp_path, configs))
    assert taken == list(range(2 * LENGTH if killed else 0, 3 * LENGTH))


def test_a_second_signal_ends_a_group_at_once_and_one_after_the_last_step_is_not_lost(tmp_path):
    """Or whoever asked a sweep to stop would see it go on with the next group."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        signalled(patch, 16, times=2)
        together(tmp_path, three(), checkpoint_seconds=0)
    assert states(tmp_path) == ["interrupted"] * 3
    assert [checkpoint(tmp_path / str(index))["global_step"] for index in range(3)] == [LENGTH] * 3
    interrupt_group(tmp_path, three(), 3 * LENGTH)
    assert states(tmp_path) == ["completed"] * 3
