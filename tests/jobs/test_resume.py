"""A run that was cut off and resumed is the run that was left alone, to the bit."""

import subprocess
import sys

import pandas as pd
import pytest
import yaml

from src.jobs.record import Job
from src.jobs.train import train
from src.runs.directory import RunDirectory
from src.runs.outcome import Interrupted
from tests.jobs.same_run import assert_same_run
from tests.jobs.signalling import SignalAtStep

STOP = "tests.jobs.signalling.SignalAtStep"


def interrupted(config: dict, directory, step: int, name: str = "SIGINT") -> None:
    """Run until a signal arrives at `step`; the signalling callback is no part of the run's identity."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.jobs.train.Divergence", lambda: SignalAtStep(step, name))
        with pytest.raises(Interrupted):
            train(Job(config, directory))
    assert RunDirectory(directory).summary()["status"] == "interrupted"


def resume(config: dict, directory, origin=None) -> dict:
    checkpoint = RunDirectory(origin or directory).checkpoint
    return train(Job({**config, "ckpt_path": str(checkpoint)}, directory))


@pytest.mark.parametrize(
    ("step", "overrides"),
    [
        (5, ["model.dropout=0.2"]),  # in the first epoch, with layers that draw
        (22, []),  # at the end of the second
        (16, ["datamodule.validation=0"]),
        (15, ["trainer.max_steps=30", "trainer.max_epochs=9"]),
        (4, ["trainer.accumulate_grad_batches=2", "callbacks.lengths.flush_every_n_steps=3"]),
        (7, ["schedule=torch", "schedule._target_=torch.optim.lr_scheduler.ExponentialLR", "+schedule.gamma=0.9"]),
        (12, ["optimizer=adamw", "callbacks.lengths.every_n_steps=5"]),
    ],
)
def test_an_interrupted_run_resumes_as_if_nothing_had_happened(config, tmp_path, step, overrides):
    settings = config("model.activation=relu", *overrides)
    train(Job(settings, tmp_path / "whole"))
    interrupted(settings, tmp_path / "cut", step)
    assert pd.read_parquet(tmp_path / "cut/steps")["step"].max() < step + 1
    assert resume(settings, tmp_path / "cut")["status"] == "completed"
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_resuming_from_a_later_state_than_was_recorded_would_be_noticed(config, tmp_path):
    """The control of the tests above: a run of another seed is not the same run."""
    train(Job(config(), tmp_path / "one"))
    train(Job(config("seed=1"), tmp_path / "other"))
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "one", tmp_path / "other")


def test_the_same_seed_gives_the_same_run(config, tmp_path):
    for name in ("one", "other"):
        train(Job(config("model.dropout=0.1"), tmp_path / name))
    assert_same_run(tmp_path / "one", tmp_path / "other")


def test_a_killed_run_resumes_as_if_nothing_had_happened(config, tmp_path):
    settings = config("callbacks.lengths.flush_every_n_steps=4")
    train(Job(settings, tmp_path / "whole"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    script = f"""
import pathlib, torch, yaml
torch.set_num_threads(1)  # as here: results are bit-identical for the same number of threads
import src.jobs.train as module
from tests.jobs.signalling import SignalAtStep
module.Divergence = lambda: SignalAtStep(17, "SIGKILL")
config = yaml.safe_load(pathlib.Path({str(tmp_path / "config.yaml")!r}).read_text())
module.train(module.Job(config, pathlib.Path({str(tmp_path / "killed")!r})))
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert RunDirectory(tmp_path / "killed").summary() is None
    rows = pd.read_parquet(tmp_path / "killed/lengths")
    assert rows["step"].max() == 14  # 11 steps at the epoch's checkpoint, then one flush of 4, not yet the next
    assert resume(settings, tmp_path / "killed")["status"] == "completed"
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_run_resumed_in_another_directory_takes_its_rows_along(config, tmp_path):
    train(Job(config(), tmp_path / "whole"))
    interrupted(config(), tmp_path / "cut", 14)
    resume(config(), tmp_path / "elsewhere", origin=tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "elsewhere")
    assert RunDirectory(tmp_path / "cut").summary()["status"] == "interrupted"


@pytest.mark.parametrize(
    ("short", "long"),
    [("trainer.max_epochs=2", "trainer.max_epochs=5"), ("trainer.max_steps=15", "trainer.max_steps=30")],
)
def test_a_finished_run_goes_on_where_more_is_asked_for(config, tmp_path, short, long):
    train(Job(config(long), tmp_path / "long"))
    train(Job(config(short), tmp_path / "short"))
    resume(config(long), tmp_path / "longer", origin=tmp_path / "short")
    one, other = (pd.read_parquet(tmp_path / name / "lengths") for name in ("long", "longer"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
