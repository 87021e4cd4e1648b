"""Several processes: DDP gives the results of one process, and a multirun runs each job once."""

import signal
from subprocess import CompletedProcess

import numpy as np
import pandas as pd
import pytest

from start_training.runs.directory import RunDirectory
from tests import forked
from tests.same_run import assert_same_run
from tests.small_runs import SMALL
from tests.sweeps import SCRIPT, sweep
from tests.wandb_records import of_kind, records

ENVIRONMENT = {"PYTHONPATH": str(forked.ROOT), "OMP_NUM_THREADS": "1", forked.UNDRAWN: "1"}


def run(*overrides: str, flags: tuple[str, ...] = ()) -> CompletedProcess[str]:
    """Run scripts/train.py in a subprocess."""
    return forked.run(SCRIPT, *flags, *SMALL, *overrides, env={**forked.os.environ, **ENVIRONMENT})


@pytest.mark.slow
def test_two_processes_give_the_run_of_one_process(trained, tmp_path):
    # 1293 samples in batches of 127: shares of 64 and 63, and a last batch of 23 split in 12 and 11
    overrides = ("datamodule.batch_size=127", "trainer.max_epochs=2", "datamodule.validation=0.1")
    overrides = (*overrides, "callbacks.lengths.updates=true")
    finished = run(*overrides, "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}")
    assert finished.returncode == 0, finished.stderr
    runs = (trained(*overrides), tmp_path)
    one, two = (pd.read_parquet(run / "lengths") for run in runs)
    assert one[["step", "layer", "name", "count"]].equals(two[["step", "layer", "name", "count"]])
    np.testing.assert_allclose(two["mean"], one["mean"], rtol=2e-4)
    np.testing.assert_allclose(two["variance"], one["variance"], rtol=2e-3)
    one, two = (pd.read_parquet(run / "steps") for run in runs)
    for column in ("loss", "growth_rate", "layer_variance", "relative_layer_variance"):
        np.testing.assert_allclose(two[column], one[column], rtol=2e-3, atol=1e-5)
    one, two = (pd.read_parquet(run / "updates") for run in runs)
    assert one[["step", "optimizer", "parameter"]].equals(two[["step", "optimizer", "parameter"]])
    for column in ("weight_norm", "gradient_norm", "update_norm"):
        np.testing.assert_allclose(two[column], one[column], rtol=2e-3, atol=1e-5)
    one, two = (RunDirectory(run).summary() for run in runs)
    assert two["config_hash"] == one["config_hash"]  # devices do not determine the result
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, rel=2e-3), name


@pytest.mark.slow
def test_two_processes_resume_after_an_interruption(tmp_path):
    overrides = ("trainer=ddp_cpu", "model.dropout=0.1", "trainer.max_epochs=2")
    at = "+callbacks.signal={_target_:tests.signalling.SignalAtStep,step:5}"
    cut = run(*overrides, at, f"hydra.run.dir={tmp_path / 'cut'}")
    assert cut.returncode == 130, cut.stderr
    checkpoint = RunDirectory(tmp_path / "cut").checkpoint
    for name, more in (("on", (f"ckpt_path={checkpoint}",)), ("whole", ())):
        finished = run(*overrides, f"hydra.run.dir={tmp_path / name}", *more)
        assert finished.returncode == 0, finished.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "on")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("raises", "failed", "rank 1: RuntimeError: rank 1 is broken"),
        ("building", "failed", "rank 1: ValueError: callbacks.rank.how = building: rank 1 is broken"),
        ("killed", "interrupted", "rank 1 was ended by SIGKILL"),
        ("memory", "interrupted", "rank 1: out of memory (MemoryError); free memory, or use a smaller net or batch"),
    ],
)
def test_the_summary_states_why_another_rank_has_ended(tmp_path, how, status, reason):
    lost = f"+callbacks.rank={{_target_:tests.signalling.LostRank,step:15,how:{how}}}"
    ended = run("trainer=ddp_cpu", "trainer.max_epochs=3", lost, f"hydra.run.dir={tmp_path}")
    summary = RunDirectory(tmp_path).summary()
    assert (summary["status"], summary["reason"]) == (status, reason), ended.stderr
    assert ended.returncode == 1 and f"error: {reason}" in ended.stderr
    assert RunDirectory(tmp_path).resumable == (status == "interrupted")
    assert not list(tmp_path.glob(".rank*"))


@pytest.mark.slow
def test_a_multirun_of_mixed_device_counts_runs_each_job_once_on_all_of_its_data(tmp_path):
    overrides = ("trainer=ddp_cpu", "trainer.devices=1,2", "trainer.max_epochs=1", "datamodule.validation=0")
    launcher = ("hydra/launcher=process", "hydra.launcher.jobs=2", "logger=wandb")
    finished = sweep(tmp_path / "sweep", *overrides, *launcher, "hydra.sweep.subdir=${hydra.job.num}")
    assert finished.returncode == 0, finished.stderr
    jobs = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert [job.name for job in jobs] == ["0", "1"]
    for job in jobs:
        assert RunDirectory(job).state == "completed"
        lengths = pd.read_parquet(job / "lengths")
        assert lengths.groupby("layer")["count"].sum().unique().tolist() == [1437]
        assert len(list(job.glob("wandb/offline-run-*"))) == 1
        assert {record.run_group for record in of_kind(records(job), "run")} == {"sweep"}


@pytest.mark.slow
def test_a_signal_ends_a_run_with_a_checkpoint_and_the_exit_status_of_a_shell(tmp_path):
    words = (*SMALL, "trainer.max_epochs=100000", f"hydra.run.dir={tmp_path}")
    process = forked.start(SCRIPT, *words, env={**forked.os.environ, **ENVIRONMENT})
    forked.wait_until(RunDirectory(tmp_path).checkpoint.exists, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert RunDirectory(tmp_path).state == "interrupted"
    assert "resume with ckpt_path=" in errors
    assert "Traceback" not in errors
