"""Groups that were cut off, and runs of groups that go on by themselves, are those that were left alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

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
        return [config(*DOUBLE, "trainer.max_epochs=3", *overrides, *each) for each in own]

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
    assert_interrupted(root, configs, step)


def interrupt_each(root: Path, configs: list[dict], step: int) -> None:
    for job in jobs(root, configs):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr("src.jobs.train.Divergence", lambda: SignalAtStep(step))
            train(job)
    assert_interrupted(root, configs, step)


def assert_interrupted(root: Path, configs: list[dict], step: int) -> None:
    for index in range(len(configs)):
        run = RunDirectory(root / str(index))
        assert (run.state, run.summary()["steps"]) == ("interrupted", step)
        assert checkpoint(run.path)["global_step"] == step
        assert pd.read_parquet(run.path / "hyperparameters")["step"].max() == step - 1


@pytest.mark.parametrize(
    ("step", "overrides"),
    [
        (5, ()),
        pytest.param(LENGTH, (), marks=pytest.mark.slow),
        pytest.param(16, ("optimizer.momentum=0",), marks=pytest.mark.slow),
        pytest.param(16, ("optimizer=adamw", "datamodule.validation=0"), marks=pytest.mark.slow),
        (2 * LENGTH, ("optimizer=adamw",)),
        (2 * LENGTH + 10, WATCHED),
        (16, PHASES),
        pytest.param(16, (*WATCHED, "trainer.max_steps=20"), marks=pytest.mark.slow),
    ],
)
def test_what_is_interrupted_goes_on_one_way_or_the_other(three, tmp_path, step, overrides):
    configs = three(*overrides)[:2]
    ones = one_by_one(tmp_path / "whole", configs)
    interrupt_group(tmp_path / "group, group", configs, step)
    assert_same_runs(ones, together(tmp_path / "group, group", configs))
    interrupt_each(tmp_path / "one, group", configs, step)
    assert_same_runs(ones, together(tmp_path / "one, group", configs))
    interrupt_group(tmp_path / "group, one", configs, step)
    assert_same_runs(ones, one_by_one(tmp_path / "group, one", configs))


@pytest.mark.parametrize("step", [LENGTH, 16])
def test_an_interrupted_group_leaves_what_its_runs_would_leave(three, tmp_path, step):
    configs = three()
    interrupt_group(tmp_path / "group", configs, step, signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        for job in jobs(tmp_path / "one", configs):
            patch.setattr("src.jobs.train.Divergence", lambda: SignalAtStep(step, "SIGTERM"))
            with pytest.raises(Interrupted):
                train(job)
    assert_same_runs([tmp_path / "one" / str(index) for index in range(3)],
                     [tmp_path / "group" / str(index) for index in range(3)])  # fmt: skip


def test_what_has_diverged_unseen_when_a_signal_comes_has_diverged(three, tmp_path, monkeypatch):
    """On a device for which one waits, where losses are looked at as epochs end."""
    monkeypatch.setattr("src.replicas.group._waits", lambda device: True)
    configs = [*three()[:1], *three("optimizer.lr=1e200")[2:]]
    ones = one_by_one(tmp_path / "one", configs)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, 5)
        together(tmp_path / "group", configs)
    assert [RunDirectory(tmp_path / "group" / str(index)).state for index in range(2)] == ["interrupted", "diverged"]
    assert_same_runs(ones, together(tmp_path / "group", configs))


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.max_steps=16", *PHASES),
        ("callbacks=start_of_training", "callbacks.start_of_training.stop=true", "optimizer.lr=0.1",
         "callbacks.start_of_training.every_n_steps=4"),
    ],
    ids=["max_steps", "start"],
)  # fmt: skip
@pytest.mark.parametrize("way", [one_by_one, together])
def test_a_run_that_ended_in_mid_epoch_and_lost_its_summary_ends_the_same_again(three, tmp_path, overrides, way):
    """As where it was killed between its checkpoint and its summary, which others of its group come before."""
    configs = three(*overrides)
    ones = one_by_one(tmp_path / "whole", configs)
    for run in way(tmp_path / "again", configs):
        (run / "summary.json").unlink()
    assert_same_runs(ones, together(tmp_path / "again", configs))
    assert {checkpoint(run)["global_step"] % LENGTH > 0 for run in ones} == {True}


def test_members_that_stand_at_different_steps_train_apart(three, tmp_path, monkeypatch):
    configs = three()
    ones = one_by_one(tmp_path / "whole", configs)
    interrupt_group(tmp_path / "group", configs[:2], 16)
    sizes: list[tuple[int, int]] = []
    train_epochs = Group.train
    monkeypatch.setattr(
        Group, "train", lambda self: sizes.append((len(self.replicas), self.step)) or train_epochs(self)
    )
    assert_same_runs(ones, together(tmp_path / "group", configs))
    assert sizes == [(1, 0), (2, 16)]


def test_what_is_finished_and_what_another_process_holds_is_left_alone(three, tmp_path, capsys):
    configs = three()
    one_by_one(tmp_path, configs[:1])
    before = untouched(tmp_path / "0")
    held = RunDirectory(tmp_path / "1")
    held.claim(configs[1])
    together(tmp_path, configs)
    held.release()
    assert "another process is writing a run here" in capsys.readouterr().err
    assert untouched(tmp_path / "0") == before
    assert [RunDirectory(tmp_path / str(index)).state for index in range(3)] == ["completed", "absent", "completed"]


def untouched(run: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.name != ".lock"}


def test_a_failed_run_of_a_group_begins_anew(three, tmp_path, monkeypatch):
    configs = three()
    ones = one_by_one(tmp_path / "whole", configs)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "take", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            together(tmp_path / "group", configs)
    assert [RunDirectory(tmp_path / "group" / str(index)).state for index in range(3)] == ["failed"] * 3
    assert_same_runs(ones, together(tmp_path / "group", configs))


def test_a_failure_loses_what_came_after_the_last_checkpoint(three, tmp_path, monkeypatch):
    """With no seconds between checkpoints, no more than an epoch; as of a process that is killed, without summary."""
    configs = three()
    ones = one_by_one(tmp_path / "whole", configs)

    class Died(BaseException):
        pass

    def die(self: Group) -> None:
        if self.step == 2 * LENGTH + 4:
            raise Died

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr(Group, "_look_between_batches", die)
        patch.setattr(RunDirectory, "write_summary", lambda *_: None)
        together(tmp_path / "group", configs, checkpoint_seconds=0)
    assert [RunDirectory(tmp_path / "group" / str(index)).state for index in range(3)] == ["killed"] * 3
    steps = count_steps(monkeypatch)
    assert_same_runs(ones, together(tmp_path / "group", configs))
    assert steps == list(range(2 * LENGTH, 3 * LENGTH))


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    taken: list[int] = []
    take_step: Callable[[Group], None] = Group._take_step
    monkeypatch.setattr(Group, "_take_step", lambda self: taken.append(self.step) or take_step(self))
    return taken


def test_a_second_signal_ends_a_group_at_once(three, tmp_path, monkeypatch):
    signalled(monkeypatch, 16, times=2)
    with pytest.raises(KeyboardInterrupt):
        together(tmp_path, three(), checkpoint_seconds=0)
    for index in range(3):
        assert RunDirectory(tmp_path / str(index)).state == "interrupted"
        assert checkpoint(tmp_path / str(index))["global_step"] == LENGTH


@pytest.mark.parametrize(
    ("short", "long"),
    [("trainer.max_epochs=1", "trainer.max_epochs=3"), ("trainer.max_steps=15", "trainer.max_steps=30")],
)
def test_a_finished_run_of_a_group_goes_on_where_more_is_asked_for(three, tmp_path, short, long):
    configs, longer = three(short), three(long)
    one_by_one(tmp_path / "one", configs)
    together(tmp_path / "group", configs)
    ends = [
        one_by_one(tmp_path / f"from {way}", [
            {**config, "ckpt_path": str(RunDirectory(tmp_path / way / str(index)).checkpoint)}
            for index, config in enumerate(longer)
        ])
        for way in ("one", "group")
    ]  # fmt: skip
    assert_same_runs(*ends)


@pytest.mark.slow
def test_a_killed_group_loses_what_came_after_its_last_checkpoints(three, tmp_path):
    configs = three()
    ones = one_by_one(tmp_path / "whole", configs)
    (tmp_path / "configs.yaml").write_text(yaml.safe_dump(configs))
    script = f"""
import pathlib, pytest, signal, torch, yaml
torch.set_num_threads(1)
from tests.jobs.replica_jobs import together
from tests.jobs.test_replica_resume import signalled
signalled(pytest.MonkeyPatch(), {2 * LENGTH + 4}, signal.SIGKILL)
root = pathlib.Path({str(tmp_path)!r})
together(root / "group", yaml.safe_load((root / "configs.yaml").read_text()), checkpoint_seconds=0)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    for index in range(3):
        assert RunDirectory(tmp_path / "group" / str(index)).state == "killed"
        assert checkpoint(tmp_path / "group" / str(index))["global_step"] == 2 * LENGTH
    assert_same_runs(ones, together(tmp_path / "group", configs))


def test_runs_that_were_interrupted_after_their_last_step_are_completed_by_a_group(three, tmp_path):
    configs = three()[:2]
    ones = one_by_one(tmp_path / "whole", configs)
    interrupt_each(tmp_path / "group", configs, 3 * LENGTH)
    assert_same_runs(ones, together(tmp_path / "group", configs))


def test_a_signal_after_the_last_step_is_not_lost(three, tmp_path):
    """Or whoever asked a sweep to stop would see it go on with the next group."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        signalled(patch, 3 * LENGTH)
        together(tmp_path, three())
    assert [RunDirectory(tmp_path / str(index)).state for index in range(3)] == ["completed"] * 3
