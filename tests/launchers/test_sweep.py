"""A sweep resumes where it stopped, repeats no finished job, and reports how its jobs ended."""

import errno
import fcntl
import hashlib
import json
import shutil

import pytest
import yaml

from start_training.launchers.process_tree import check_launcher
from start_training.runs.directory import RunDirectory
from start_training.runs.sweep_jobs import read_jobs
from tests.launchers.test_traits import JOBLIB, PROCESS, RAY, SLURM, SUBMITIT_LOCAL
from tests.small_runs import SMALL
from tests.sweeps import statuses, summaries, untouched

BROKEN = "+callbacks.broken={_target_:tests.broken.Broken,seed:1}"


@pytest.fixture
def sweep(shell, tmp_path):
    """A function that runs the same multirun with further overrides and returns its status, output and errors."""

    def call(*overrides: str) -> tuple[int, list[str], list[str]]:
        return shell("train", "-m", *SMALL, "trainer.max_epochs=1", "hydra.sweep.dir=sweep", *overrides)

    return call


@pytest.mark.slow
def test_a_sweep_started_again_runs_only_jobs_with_new_result_settings(sweep, tmp_path):
    assert sweep("seed=0,1", "optimizer.lr=1e-2,1e30")[0] == 0
    assert statuses(tmp_path / "sweep") == ["completed"] * 2 + ["diverged"] * 2
    before = untouched(tmp_path / "sweep")
    hardware = ("trainer.num_nodes=1",)  # does not change the result
    status, output, errors = sweep("seed=0,1,2", "optimizer.lr=0.01,1e30,0.010", *hardware)  # 0.01 and 0.010: one job
    assert (status, errors) == (0, [])
    assert output[0] == "sweep sweep: 6 jobs, 4 already finished, 0 to resume, 0 failed before, 2 new"
    lines = [line for line in output if "steps in" in line]
    assert len(lines) == 2 and "seed=2 optimizer.lr=0.01" in lines[0] and "completed, test accuracy" in lines[0]
    assert len(before) > 20 and before.items() <= untouched(tmp_path / "sweep").items()
    assert len(summaries(tmp_path / "sweep")) == len(read_jobs(tmp_path / "sweep")) == 6


def test_two_jobs_with_the_same_directory_are_rejected(sweep, tmp_path):
    status, _, [line] = sweep("seed=0,1", "hydra.sweep.subdir='depth-${model.depth}'")
    assert status == 1
    assert line.startswith("error: hydra.sweep.subdir = depth-3: must differ between jobs, but is the same for ")
    assert "seed=0 and " in line and line.endswith("seed=1")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    "launcher", ["basic", *(pytest.param(name, marks=pytest.mark.slow) for name in ("replicas", "joblib"))]
)
def test_a_continued_sweep_keeps_directories_that_are_named_by_the_numbers_of_jobs(sweep, tmp_path, launcher):
    words = ("hydra.sweep.subdir=${hydra.job.num}", f"hydra/launcher={launcher}")
    assert sweep("seed=0,1", *words)[0] == 0
    before = untouched(tmp_path / "sweep")
    status, _, errors = sweep("seed=0,1,2,3", *words)
    assert (status, errors) == (0, [])
    assert {name: summary["seed"] for name, summary in summaries(tmp_path / "sweep").items()} == {
        str(number): number for number in range(4)
    }
    assert before.items() <= untouched(tmp_path / "sweep").items()
    status, _, errors = sweep("seed=4,1", *words)  # number 0 is a finished run with another seed
    assert status == 1
    assert "sweep/0: already holds a run of another config (" in errors[0]
    assert before.items() <= untouched(tmp_path / "sweep").items()


def test_a_failed_job_stops_no_other_job_is_reported_and_starts_again(sweep, tmp_path, monkeypatch):
    status, output, errors = sweep("model.depth=0,2", "seed=0,1", BROKEN)
    assert status == 1
    assert statuses(tmp_path / "sweep") == ["completed"] + ["failed"] * 3
    assert any("failed" in line and "3" in line for line in output)
    failed = [line for line in errors if line.startswith("failed: ")]
    assert "model.depth=0 " in failed[0] and " seed=0 " in failed[0]
    assert "model.depth = 0: must be a whole number" in failed[0]
    assert failed[2].endswith("(Unpicklable: no luck in this net)")
    assert sum("Traceback" in line for line in errors) == 1  # for an unexpected error, not for invalid settings
    before = untouched(tmp_path / "sweep")
    monkeypatch.setattr("tests.broken.Broken.on_train_epoch_end", lambda *_: None)
    status, output, errors = sweep("model.depth=2", "seed=0,1", BROKEN)
    assert (status, errors) == (0, [])
    assert "1 already finished, 0 to resume, 1 failed before, 0 new" in output[0]
    assert before.items() <= untouched(tmp_path / "sweep").items()
    assert statuses(tmp_path / "sweep") == ["completed"] * 2 + ["failed"] * 2


def test_a_signal_ends_a_sweep_and_the_same_command_resumes_it(sweep, tmp_path):
    signal_callback = "+callbacks.signal={_target_:tests.signalling.SignalAtStep,step:17}"
    for ended in range(2):  # each job gets the signal once
        status, _, errors = sweep(signal_callback, "trainer.max_epochs=2", "seed=0,1")
        assert (status, errors[-1]) == (130, "to resume: repeat the command with hydra.sweep.dir=sweep")
        assert statuses(tmp_path / "sweep") == ["completed"] * ended + ["interrupted"]
    assert sweep(signal_callback, "trainer.max_epochs=2", "seed=0,1")[0] == 0
    assert {summary["steps"] for summary in summaries(tmp_path / "sweep").values()} == {22}


def test_a_job_that_another_process_runs_is_skipped(sweep, tmp_path):
    assert sweep("seed=0")[0] == 0
    [name] = summaries(tmp_path / "sweep")
    run = RunDirectory(tmp_path / "sweep" / name)
    run.begin(run.config())
    status, output, errors = sweep("seed=0,1")
    run.release()
    assert status == 0
    assert errors[0].endswith("another process is writing a run here")
    assert any("running" in line and "1" in line for line in output)
    assert len(summaries(tmp_path / "sweep")) == 1


def test_a_job_of_several_processes_is_rejected_by_launchers_without_process_trees(sweep, tmp_path):
    status, output, [error] = sweep("seed=0", "trainer=ddp_cpu")
    message = (
        "trainer.devices = 2: with trainer.strategy = ddp a job starts several processes, which {} does not support"
    )
    assert (status, output) == (1, [])
    assert error == f"error: {message.format('BasicLauncher')}; add hydra/launcher=process"
    assert not (tmp_path / "sweep").exists()
    ddp = {"devices": 2, "strategy": "ddp"}
    for target in (JOBLIB, SUBMITIT_LOCAL):
        with pytest.raises(ValueError, match=message.format(target.rpartition(".")[2])):
            check_launcher(ddp, {"_target_": target})
    for target in (PROCESS, SLURM, RAY):
        check_launcher(ddp, {"_target_": target})


def test_on_a_file_system_without_locks_every_job_fails_with_that_reason(sweep, tmp_path, monkeypatch):
    def refused(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    reason = "its file system does not support file locks (No locks available)"
    for _ in range(2):  # the second time, the lock files exist
        status, _, errors = sweep("seed=0,1")
        assert status == 1 and any(reason in line for line in errors)
        assert not any("Traceback" in line or "another process" in line for line in errors)


def test_two_spellings_of_a_number_give_one_run_but_int_and_float_batch_limits_give_two(sweep, tmp_path):
    assert sweep("optimizer.lr=1,1.0,1e0", "+trainer.limit_train_batches=1,1.0", "trainer.max_steps=2")[0] == 0
    assert len(read_jobs(tmp_path / "sweep")) == 2


def first_hash(config):
    """Return the hash of a config by scheme 1, which hashed the config as written."""
    for group, keys in {"trainer": ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar"),
                        "datamodule": ("data_dir",)}.items():  # fmt: skip
        config = {**config, group: {key: value for key, value in config[group].items() if key not in keys}}
    hashed = {key: value for key, value in config.items() if key not in ("logger", "ckpt_path", "figure", "size")}
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:12]


def test_runs_of_an_earlier_version_are_recognized_and_keep_their_directory_names(sweep, tmp_path):
    assert sweep("seed=0,1,2")[0] == 0
    names = {}
    for run in (RunDirectory(tmp_path / "sweep" / directory) for directory in read_jobs(tmp_path / "sweep")):
        former = run.config_file.read_text().replace("start_training.", "src.")  # the package's former name
        later = ("task", "monitor", "mode", "trial")  # keys that it did not have
        text = yaml.safe_dump({k: v for k, v in yaml.safe_load(former).items() if k not in later}, sort_keys=False)
        run.config_file.write_text(text)
        names[run.path.name] = run.path.rename(run.path.with_name(first_hash(yaml.safe_load(text)))).name
    assert not names.keys() & set(names.values())
    (tmp_path / "sweep" / "jobs.json").unlink()
    interrupted, _, both = names.values()
    run = RunDirectory(tmp_path / "sweep" / interrupted)
    run.write_summary({**run.summary(), "status": "interrupted"})
    before = untouched(tmp_path / "sweep")
    shutil.copytree(tmp_path / "sweep" / both, tmp_path / "sweep" / list(names)[2])
    run = RunDirectory(tmp_path / "sweep" / list(names)[2])
    run.write_summary({**run.summary(), "status": "interrupted"})
    status, output, errors = sweep("seed=0,1,2")
    assert status == 0 and "3 jobs, 2 already finished, 1 to resume" in output[0]
    assert [line for line in errors if "hold the same run" in line] == [
        f"note: sweep: directories {both} and {list(names)[2]} hold the same run; {both} is used"
    ]
    [note] = [line for line in errors if "old names still work" in line]
    assert note.startswith("note: src.models.") and "and 4 more" in note
    assert [*read_jobs(tmp_path / "sweep")] == [*names.values()]
    after = untouched(tmp_path / "sweep")
    assert {file: after[file] for file in before if interrupted not in str(file)}.items() <= before.items()
