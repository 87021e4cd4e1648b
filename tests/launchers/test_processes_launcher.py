"""The process launcher: several jobs at a time, each with its own GPUs, which end when the launcher ends."""

import os
import signal
import sys
from collections import Counter

import pytest
from hydra.core.utils import JobStatus
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from start_training.launchers import process_launcher
from start_training.launchers.process_tree import command
from start_training.runs.directory import RunDirectory
from start_training.stop_signals import Interrupted
from tests.forked import wait_until
from tests.sweeps import start, wait_for

DEVICES = st.sampled_from([0, 1, 2, 3, "auto", -1, "-1", [2, 3], "cpu"])


class Process:
    """A simulated process on a `Machine`, in place of `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(self, machine: "Machine", line: list[str], env: dict[str, str]) -> None:
        self.machine, self.line, self.env, self.pid = machine, line, env, len(machine.begun)
        self.gpus = [gpu for gpu in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        self.sent: list[int] = []

    def poll(self) -> int | None:
        self.machine.look(self)
        return self.returncode


class Machine:
    """A simulated machine whose processes end one per poll, in the given order, after all signals have been passed on.

    Args:
        order: determines which of the running processes ends next.
        signals: signals that the launcher receives, one per poll.
        status: exit status of every process.
    """

    def __init__(self, order: list[int], signals: tuple[int, ...] = (), status: int = 0) -> None:
        self.order, self.signals, self.status, self.fired = order, [*signals], status, 0
        self.begun: list[Process] = []
        self.at_a_time: list[list[Process]] = [[]]

    def start(self, line: list[str], *, env: dict[str, str], **_: object) -> Process:
        self.begun.append(Process(self, line, env))
        self.at_a_time.append([process for process in self.begun if process.returncode is None])
        return self.begun[-1]

    def look(self, process: Process) -> None:
        running = [candidate for candidate in self.begun if candidate.returncode is None]
        if process not in running or any(len(candidate.sent) < self.fired for candidate in running):
            return
        if self.signals:
            self.fired += 1
            signal.raise_signal(self.signals.pop(0))
        elif process is running[self.order[len(self.begun) % len(self.order)] % len(running)]:
            process.returncode = self.status

    def send(self, pid: int, signum: int) -> None:
        self.begun[pid].sent.append(signum)


def launch(machine: Machine, job_devices: list, gpus: int, jobs: int | None) -> list:
    """Launch one job per value of trainer.devices on a machine with `gpus` GPUs, and return the results."""

    def composed(config: DictConfig, loader: object, overrides: list[str], number: int) -> DictConfig:
        devices = job_devices[number]
        trainer = {"accelerator": "cpu" if devices == "cpu" else "gpu", "devices": 1 if devices == "cpu" else devices}
        hydra = {"sweep": {"dir": "a/sweep", "subdir": str(number)}, "overrides": {"task": [], "hydra": []},
                 "job": {"name": "train", "config_name": "train"}, "runtime": {"config_sources": []}}  # fmt: skip
        return OmegaConf.create({"trainer": trainer, "hydra": hydra})

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        patch.setattr(process_launcher.torch.cuda, "device_count", lambda: gpus)
        patch.setattr(process_launcher, "POLL", 0)
        patch.setattr(process_launcher, "compose_job", composed)
        patch.setattr(process_launcher.subprocess, "Popen", machine.start)
        patch.setattr(process_launcher.os, "killpg", machine.send)
        return process_launcher.launch(OmegaConf.create(), None, [[] for _ in job_devices], 0, jobs=jobs)


def pinned_gpus(devices: object, gpus: int) -> int:
    """Return how many GPUs a job should be pinned to: 0 for a list of devices, since the job selects them itself."""
    if isinstance(devices, list) or devices == "cpu":
        return 0
    return gpus if devices in (-1, "-1") else min(1 if devices == "auto" else int(devices), gpus)


@given(
    job_devices=st.lists(DEVICES, min_size=1, max_size=8),
    gpus=st.integers(0, 4),
    jobs=st.integers(1, 5) | st.none(),
    order=st.lists(st.integers(0, 7), min_size=1, max_size=8),
)
def test_each_job_has_the_gpus_it_needs_and_no_gpu_has_more_than_its_share_of_jobs(job_devices, gpus, jobs, order):
    machine = Machine(order)
    returned = launch(machine, job_devices, gpus, jobs)
    assert [job.status for job in returned] == [JobStatus.COMPLETED] * len(job_devices)
    numbers = [process.line[-1].rstrip("'").rpartition("/")[2] for process in machine.begun]
    assert [*map(int, numbers)] == list(range(len(job_devices)))
    assert [len(process.gpus) for process in machine.begun] == [pinned_gpus(devices, gpus) for devices in job_devices]
    limit = max(1, gpus) if jobs is None else jobs
    for running in machine.at_a_time[1:]:
        assert len(running) <= limit
        used = Counter(gpu for process in running for gpu in process.gpus)
        assert max(used.values(), default=0) <= -(-limit // max(1, gpus))
        *others, newest = running  # the newest process takes the least used GPUs
        used = Counter(gpu for process in others for gpu in process.gpus)
        spare = [used[str(gpu)] for gpu in range(gpus) if str(gpu) not in newest.gpus]
        assert all(used[gpu] <= load for gpu in newest.gpus for load in spare)


def test_more_jobs_than_gpus_share_gpus_and_cores_evenly(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")  # only visible GPUs are used
    machine = Machine([0])
    launch(machine, [1] * 5, gpus=8, jobs=4)
    first = machine.at_a_time[4]
    assert [process.gpus for process in first] == [["GPU-a"], ["GPU-b"], ["GPU-a"], ["GPU-b"]]
    assert [process.env["OMP_NUM_THREADS"] for process in first] == ["2"] * 4
    machine = Machine([0])
    launch(machine, [1, 1], gpus=8, jobs=1)
    assert max(map(len, machine.at_a_time)) == 1 and "OMP_NUM_THREADS" not in machine.begun[0].env


def test_the_status_of_a_job_is_that_of_its_process():
    [failed] = launch(Machine([0], status=3), [0], gpus=0, jobs=1)
    assert (failed.status, str(failed._return_value)) == (JobStatus.FAILED, "the job's process ended with status 3")


def test_the_objective_that_hydra_gets_is_that_of_the_finished_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunDirectory(tmp_path / "a/sweep/0").write_summary({"status": "completed", "metrics": {"val/loss": 0.5}})
    RunDirectory(tmp_path / "a/sweep/1").write_summary({"status": "diverged", "metrics": {}})
    returned = launch(Machine([0]), [0, 0, 0], gpus=0, jobs=1)  # the third has no directory
    assert [job.return_value for job in returned] == [0.5, float("inf"), None]


def test_signals_are_passed_on_to_running_jobs_and_no_further_job_starts(monkeypatch):
    monkeypatch.setattr("start_training.stop_signals.SAME_REQUEST", 0.0)
    for signals in ((signal.SIGTERM, signal.SIGINT), (signal.SIGINT,)):
        machine = Machine([0], signals)
        with pytest.raises(Interrupted) as end:
            launch(machine, [0] * 4, gpus=0, jobs=2)
        assert end.value.exit_status == 128 + signals[0]
        assert [process.sent for process in machine.begun] == [[signals[0]] * len(signals)] * 2


def test_the_command_line_of_a_job_has_no_settings_of_the_sweep(tmp_path):
    sources = {"config_sources": [{"path": "mine", "provider": "command-line"}]}
    overrides = ["hydra/launcher=process", "hydra.sweep.dir=x", "hydra.searchpath=[pkg://conf]"]
    job = {"name": "train", "config_name": "train"}
    hydra = OmegaConf.create({"job": job, "runtime": sources, "overrides": {"hydra": overrides}})
    words = "--config-name train --config-dir mine seed=1 hydra.searchpath=[pkg://conf] hydra.mode=RUN"
    line = command(hydra, ["seed=1", "hydra.mode=MULTIRUN"], tmp_path)
    assert line[:4] == [sys.executable, "-m", "start_training.cli", "train"]
    assert line[4:] == [*words.split(), f"hydra.run.dir='{tmp_path}'"]


@pytest.mark.slow
def test_jobs_end_with_their_launcher_when_it_is_killed(tmp_path):
    launcher = ("hydra/launcher=process", "hydra.launcher.jobs=2")
    process = start(tmp_path, *launcher, "seed=0,1", "trainer.max_epochs=100000")
    wait_until(lambda: len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) >= 2, process)
    process.kill()
    process.wait(timeout=60)
    runs = [RunDirectory(file.parents[1]) for file in tmp_path.glob("*/checkpoints/last.ckpt")]
    wait_for(lambda: [run.state for run in runs] == ["killed"] * 2)  # the kernel takes a moment
    assert all(run.resumable for run in runs)
