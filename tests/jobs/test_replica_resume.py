"""Groups that were cut off, and runs of groups that go on by themselves, are those that were left alone."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from src.jobs.train import train
from src.replicas.batches import Batches
from src.replicas.group import Group
from src.runs.directory import RunDirectory
from src.runs.outcome import Interrupted
from tests.jobs.replica_jobs import DOUBLE, assert_same_runs, checkpoint, jobs, one_by_one, together
from tests.jobs.signalling import SignalAtStep

LENGTH = 11  # steps of an epoch
PHASES = ("model=tanh_layer", "initializer=phase", "callbacks=phase", "callbacks.phase.every_n_steps=3")
WATCHED = ("callbacks=start_of_training", "callbacks.start_of_training.every_n_steps=5", "schedule=one_cycle")


@pytest.fixture
def three(config):
    """The configs of three runs of 33 steps."""

    def composed(*overrides: str) -> list[dict]:
        own = (("seed=0",), ("seed=1", "optimizer.lr=0.003"), ("seed=2", "optimizer.weight_decay=0.01"))
        return [config(*DOUBLE, *overrides, *each) for each in own]

    return composed


def signalled(patch: pytest.MonkeyPatch, step: int, signum: int = signal.SIGINT, times: int = 1) -> None:
    """Let this process get a signal while its group is at a step, after the update."""
    take_step = Group._take_step

    def take(self: Group) -> None:
        take_step(self)
        for _ in range(times if self.step == step else 0):
            os.kill(os.getpid(), signum)

    patch.setattr(Group, "_take_step", take)


def interrupt_group(root: Path, configs: list[dict], step: int, signum: int = signal.SIGINT) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, step, signum)
        together(root, configs)


def interrupt_each(root: Path, configs: list[dict], step: int, signum: int = signal.SIGINT) -> None:
    for job in jobs(root, configs):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr("src.jobs.train.Divergence", lambda: SignalAtStep(step, signal.Signals(signum).name))
            train(job)


def states(root: Path, count: int = 3) -> list[str]:
    return [RunDirectory(root / str(index)).state for index in range(count)]


@pytest.mark.parametrize(
    ("step", "overrides", "signum"),
    [
        (5, (), signal.SIGTERM),
        (LENGTH, ("optimizer=adamw",), signal.SIGINT),
        (16, PHASES, signal.SIGINT),
        pytest.param(3 * LENGTH - 1, WATCHED, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(16, (*WATCHED, "optimizer=adamw", "trainer.max_steps=20"), signal.SIGINT, marks=pytest.mark.slow),
    ],
    ids=["first epoch", "end of an epoch", "phases", "watched", "max_steps"],
)
def test_an_interrupted_group_leaves_what_its_runs_would_leave_and_goes_on(
    alone, three, tmp_path, step, overrides, signum
):
    """From checkpoints as of its runs, so that these go on from a group's, and a group from theirs."""
    configs = three(*overrides)[:2]
    runs = [tmp_path / "group" / str(index) for index in range(2)]
    interrupt_group(tmp_path / "group", configs, step, signum)
    interrupt_each(tmp_path / "one", configs, step, signum)
    assert_same_runs([tmp_path / "one" / str(index) for index in range(2)], runs)
    for run in runs:
        summary = RunDirectory(run).summary()
        assert (summary["status"], summary["steps"]) == ("interrupted", step)
        assert checkpoint(run)["global_step"] == step
        assert pd.read_parquet(run / "hyperparameters")["step"].max() == step - 1
    shutil.move(runs[1], tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "one" / "1", runs[1])
    assert_same_runs(alone(configs), together(tmp_path / "group", configs))


def test_what_has_diverged_unseen_when_a_signal_comes_has_diverged(alone, three, tmp_path, monkeypatch):
    """On a device for which one waits, where losses are looked at as epochs end."""
    configs = [*three()[:1], *three("optimizer.lr=1e200")[2:]]
    ones = alone(configs)
    monkeypatch.setattr("src.replicas.group._waits", lambda device: True)
    interrupt_group(tmp_path, configs, 5)
    assert states(tmp_path, 2) == ["interrupted", "diverged"]
    assert_same_runs(ones, together(tmp_path, configs))


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.max_steps=16", *PHASES),
        ("callbacks=start_of_training", "callbacks.start_of_training.stop=true", "optimizer.lr=0.1",
         "callbacks.start_of_training.every_n_steps=4"),
    ],
    ids=["max_steps", "start"],
)  # fmt: skip
def test_a_run_that_ended_in_mid_epoch_and_lost_its_summary_ends_the_same_again(alone, three, tmp_path, overrides):
    """As where it was killed between its checkpoint and its summary, which others of its group come before."""
    configs = three(*overrides)
    ones = alone(configs)
    for index, run in enumerate(ones[:2]):
        shutil.copytree(run, tmp_path / str(index))
    together(tmp_path, configs)
    for index in range(3):
        (tmp_path / str(index) / "summary.json").unlink()
    assert_same_runs(ones, together(tmp_path, configs))
    assert {checkpoint(run)["global_step"] % LENGTH > 0 for run in ones} == {True}


def test_members_that_stand_at_different_steps_train_apart(alone, three, tmp_path, monkeypatch):
    """Also those that were interrupted after their last step."""
    configs = three()
    interrupt_each(tmp_path / "late", configs[2:], 3 * LENGTH)
    interrupt_group(tmp_path, configs[:2], 16)
    shutil.move(tmp_path / "late" / "0", tmp_path / "2")
    sizes: list[tuple[int, int]] = []
    own = Group.train
    monkeypatch.setattr(Group, "train", lambda self: sizes.append((len(self.replicas), self.step)) or own(self))
    assert_same_runs(alone(configs), together(tmp_path, configs))
    assert sizes == [(2, 16), (1, 33)]


def test_what_is_finished_and_what_another_process_holds_is_left_alone(three, tmp_path, capsys):
    configs = three("trainer.max_epochs=1")
    one_by_one(tmp_path, configs[:1])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "0").rglob("*") if file.name != ".lock"}
    held = RunDirectory(tmp_path / "1")
    held.claim(configs[1])
    together(tmp_path, configs)
    held.release()
    assert "another process is writing a run here" in capsys.readouterr().err
    assert before == {file: file.stat().st_mtime_ns for file in before}
    assert states(tmp_path) == ["completed", "absent", "completed"]


def test_a_failed_run_of_a_group_begins_anew(alone, three, tmp_path, monkeypatch):
    configs = three()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Batches, "take", lambda *_: 1 / 0)
        together(tmp_path, configs)
    assert states(tmp_path) == ["failed"] * 3
    assert_same_runs(alone(configs), together(tmp_path, configs))


def test_a_death_loses_what_came_after_the_last_checkpoint(alone, three, tmp_path, monkeypatch):
    """With no seconds between checkpoints, no more than an epoch; as of a process that is killed, without summary."""
    configs = three()

    class Died(BaseException):
        pass

    def die(self: Group) -> None:
        if self.step == 2 * LENGTH + 4:
            raise Died

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr(Group, "_look_between_batches", die)
        patch.setattr(RunDirectory, "write_summary", lambda *_: None)
        together(tmp_path, configs, checkpoint_seconds=0)
    assert states(tmp_path) == ["killed"] * 3
    taken: list[int] = []
    take_step: Callable[[Group], None] = Group._take_step
    monkeypatch.setattr(Group, "_take_step", lambda self: taken.append(self.step) or take_step(self))
    assert_same_runs(alone(configs), together(tmp_path, configs))
    assert taken == list(range(2 * LENGTH, 3 * LENGTH))


def test_a_second_signal_ends_a_group_at_once(three, tmp_path, monkeypatch):
    signalled(monkeypatch, 16, times=2)
    with pytest.raises(KeyboardInterrupt):
        together(tmp_path, three(), checkpoint_seconds=0)
    assert states(tmp_path) == ["interrupted"] * 3
    assert [checkpoint(tmp_path / str(index))["global_step"] for index in range(3)] == [LENGTH] * 3


def test_a_signal_after_the_last_step_is_not_lost(three, tmp_path):
    """Or whoever asked a sweep to stop would see it go on with the next group."""
    interrupt_group(tmp_path, three(), 3 * LENGTH)
    assert states(tmp_path) == ["completed"] * 3
