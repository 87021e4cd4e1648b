"""The process launcher: jobs side by side, each with GPUs of its own, and all of them end with it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src.jobs import processes
from src.jobs.process_tree import command
from src.jobs.processes import _gpus_wanted, _Job, _Pool
from src.runs.directory import RunDirectory
from tests.jobs.conftest import SMALL

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
NOTES_ITS_GPUS = """
import json, os, sys, time
began = time.monotonic()
time.sleep(0.3)
note = [began, time.monotonic(), os.environ.get("CUDA_VISIBLE_DEVICES", "")]
open(sys.argv[1], "w").write(json.dumps(note))
"""


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Run a job for each number of GPUs on a machine with so many: (began, ended, its GPUs) of each."""

    def call(wanted: list[int], gpus: int, jobs: int) -> list[tuple[float, float, list[str]]]:
        monkeypatch.setattr(processes, "_visible_gpus", lambda: [str(gpu) for gpu in range(gpus)])
        files = [tmp_path / str(number) for number in range(len(wanted))]
        lines = [[sys.executable, "-c", NOTES_ITS_GPUS, str(file)] for file in files]
        all_jobs = [_Job(line, "sweep", count, JobReturn()) for line, count in zip(lines, wanted, strict=True)]
        _Pool(jobs).run(all_jobs)
        assert all(job.returned.status == JobStatus.COMPLETED for job in all_jobs)
        notes = [json.loads(file.read_text()) for file in files]
        return [(began, ended, [gpu for gpu in named.split(",") if gpu]) for began, ended, named in notes]

    return call


def overlaps(one: tuple[float, float, list[str]], other: tuple[float, float, list[str]]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def test_no_gpu_has_two_jobs_at_a_time_and_each_has_what_it_asked_for(ran):
    wanted = [1, 2, 1, 3, 1]
    notes = ran(wanted, gpus=3, jobs=3)
    assert [len(gpus) for _, _, gpus in notes] == wanted
    for one, other in itertools.combinations(notes, 2):
        assert not (overlaps(one, other) and set(one[2]) & set(other[2]))
    assert any(overlaps(one, other) for one, other in itertools.combinations(notes, 2))


def test_more_jobs_than_gpus_share_them_evenly(ran):
    notes = ran([1, 1, 1, 1], gpus=2, jobs=4)
    assert sorted(gpus[0] for _, _, gpus in notes) == ["0", "0", "1", "1"]
    assert all(overlaps(one, other) for one, other in itertools.combinations(notes, 2))


def test_without_gpus_jobs_are_pinned_to_none(ran):
    assert [gpus for _, _, gpus in ran([1, 0], gpus=0, jobs=2)] == [[], []]


@pytest.mark.parametrize(
    ("trainer", "wanted"),
    [
        ({"accelerator": "cpu", "devices": 2}, 0),
        ({"accelerator": "gpu", "devices": 2}, 2),
        ({"accelerator": "gpu", "devices": "auto"}, 1),
        ({"accelerator": "gpu", "devices": -1}, sys.maxsize),
        ({"accelerator": "gpu", "devices": [2, 3]}, 0),  # it names them itself
    ],
)
def test_how_many_gpus_a_job_wants(trainer, wanted):
    assert _gpus_wanted(OmegaConf.create({"trainer": trainer})) == wanted


def test_a_jobs_command_line_is_the_job_alone(tmp_path):
    hydra = OmegaConf.create(
        {
            "job": {"name": "train", "config_name": "train"},
            "runtime": {"config_sources": [{"path": "mine", "provider": "command-line"}]},
            "overrides": {"hydra": ["hydra/launcher=process", "hydra.sweep.dir=x", "hydra.searchpath=[pkg://conf]"]},
        }
    )
    line = command(hydra, ["seed=1", "hydra.mode=MULTIRUN"], tmp_path)
    assert line[2:] == [
        "--config-name", "train", "--config-dir", "mine", "seed=1",
        "hydra.searchpath=[pkg://conf]", "hydra.mode=RUN", f"hydra.run.dir='{tmp_path}'",
    ]  # fmt: skip


def running(sweep: Path) -> list[Path]:
    return [path.parent.parent for path in sweep.glob("*/checkpoints/last.ckpt")]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_jobs_end_with_their_launcher_and_leave_checkpoints(tmp_path, signum):
    line = [sys.executable, str(SCRIPT), "-m", *SMALL, "seed=0,1", "trainer.max_epochs=100000"]
    line += ["hydra/launcher=process", "hydra.launcher.jobs=2", f"hydra.sweep.dir={tmp_path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while len(running(tmp_path)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signum)
    process.communicate(timeout=60)
    runs = [RunDirectory(path) for path in running(tmp_path)]
    assert process.returncode == (130 if signum == signal.SIGINT else -signal.SIGKILL)
    for run in runs:
        while run.state == "running":  # the kernel takes a moment
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert run.state == ("interrupted" if signum == signal.SIGINT else "killed")
        assert run.resumable
