"""The `process` launcher: each job runs in its own process tree, several at a time, each pinned to its own GPUs."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from start_training.config.build_task import merit_of
from start_training.config.composed import compose_job, without_hydra
from start_training.config.errors import ReportedError
from start_training.launchers.process_tree import DISK_IS_FULL, command, environment
from start_training.runs.directory import RunDirectory
from start_training.settings import positive_integer
from start_training.stop_signals import blocked, deferred, received
from start_training.tasks.merit import Merit
from start_training.training.results import objective_of

POLL = 0.05  # seconds


@dataclass
class JobProcess:
    """A job of the process launcher: its command line, its GPUs and its process once it has started.

    Args:
        line: the command line.
        sweep: name of the sweep.
        gpu_count: number of GPUs to pin the job to.
        returned: the result that the launcher returns to Hydra for the job.
        directory: the directory of the job.
        merit: names the metric of the job's objective, which is its return value.
        gpus: the GPUs that the job is pinned to, set by `start`.
        output: files that collect stdout and stderr until the process ends; empty if the process prints directly.
        process: the running `subprocess.Popen`.
    """

    line: list[str]
    sweep: str
    gpu_count: int
    returned: JobReturn
    directory: Path
    merit: Merit
    gpus: list[str] = field(default_factory=list)
    output: list[IO[bytes]] = field(default_factory=list)
    process: Any = None

    def start(self, gpus: list[str], variables: dict[str, str], *, hold_output: bool) -> None:
        """Start the process.

        Args:
            gpus: GPUs that the process is pinned to.
            variables: additional environment variables.
            hold_output: whether to print the output only when the process ends.
        """
        self.gpus = gpus
        self.output = [_temporary_file(), _temporary_file()] if hold_output else []
        stdout, stderr = self.output or (None, None)
        # A new session: Ctrl-C in the terminal then reaches only the launcher, which sends the signal to each job once.
        with blocked():
            self.process = subprocess.Popen(
                self.line,
                env=environment(self.sweep, **variables),
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def send(self, signum: int) -> None:
        """Send a signal to all processes of the job, unless the job has ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signum)

    def finish(self) -> None:
        """Print the held output and set the job's status and result."""
        for held, stream in zip(self.output, (sys.stdout, sys.stderr), strict=False):
            held.seek(0)
            stream.write(held.read().decode(errors="replace"))
            stream.flush()
            held.close()
        status = self.process.returncode
        self.returned.status = JobStatus.FAILED if status else JobStatus.COMPLETED
        self.returned._return_value = (
            ReportedError(f"the job's process ended with status {status}")
            if status
            else objective_of(RunDirectory(self.directory), self.merit)
        )


class _Pool:
    """A pool of running jobs, at most `jobs` at a time, among which the GPUs are distributed evenly."""

    def __init__(self, jobs: int | None) -> None:
        self.all_gpus = _visible_gpus()
        self.jobs = positive_integer("hydra.launcher.jobs", jobs if jobs is not None else max(1, len(self.all_gpus)))
        self.running: list[JobProcess] = []
        self.disk_is_full = False  # whether a job has ended for that reason

    @property
    def _stopped(self) -> bool:
        return bool(received()) or self.disk_is_full

    def run(self, jobs: Sequence[JobProcess]) -> None:
        waiting = list(jobs)
        while self.running or (waiting and not self._stopped):
            while waiting and not self._stopped and (gpus := self._gpus_for(waiting[0])) is not None:
                self._start(waiting.pop(0), gpus)
            for job in [job for job in self.running if job.process.poll() is not None]:
                self.running.remove(job)
                job.finish()
                self.disk_is_full |= job.process.returncode == DISK_IS_FULL
            time.sleep(POLL)

    def on_request(self, requests: int) -> None:
        for job in self.running:
            job.send(received())

    def _gpus_for(self, job: JobProcess) -> list[str] | None:
        """Return the least used GPUs for a job, or None if the job has to wait for GPUs or for another job to end."""
        if len(self.running) >= self.jobs:
            return None
        share = -(-self.jobs // max(1, len(self.all_gpus)))
        used = Counter(gpu for other in self.running for gpu in other.gpus)
        free = sorted((gpu for gpu in self.all_gpus if used[gpu] < share), key=lambda gpu: used[gpu])
        number = min(job.gpu_count, len(self.all_gpus))  # if the job asks for more, it reports that error itself
        return free[:number] if len(free) >= number else None

    def _start(self, job: JobProcess, gpus: list[str]) -> None:
        variables = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        job.start(gpus, variables, hold_output=self.jobs > 1)  # output of several jobs would mix
        self.running.append(job)
        if received():  # while the process was starting
            job.send(received())


def launch(
    config: DictConfig, config_loader: Any, overrides: Sequence[Sequence[str]], first: int, *, jobs: int | None
) -> list[JobReturn]:
    """Run one job per list of overrides, started in the order given, several at a time.

    SIGINT and SIGTERM are passed on to the running jobs, which write checkpoints; no further job starts.

    Args:
        config: the config of the multirun.
        config_loader: Hydra's config loader.
        overrides: the overrides of each job.
        first: the number of the first job in the multirun.
        jobs: how many jobs run at a time; None: one per GPU, or 1 without a GPU.
    Returns:
        The result of each job, in the order of `overrides`.
    Raises:
        Interrupted: a signal arrived; raised when the running jobs have ended.
        SystemExit: the disk is full; raised when the running jobs have ended.
    """
    pool = _Pool(jobs)
    processes = [_job_process(config, config_loader, words, first + number) for number, words in enumerate(overrides)]
    with deferred(pool.on_request):
        pool.run(processes)
    if pool.disk_is_full:
        sys.exit(1)
    return [job.returned for job in processes]


def _job_process(config: DictConfig, config_loader: Any, overrides: Sequence[str], number: int) -> JobProcess:
    job = compose_job(config, config_loader, overrides, number)
    sweep = Path(str(job.hydra.sweep.dir))
    directory = Path(sweep, str(job.hydra.sweep.subdir)).resolve()
    line = command(job.hydra, overrides, directory)
    returned = JobReturn(overrides=list(job.hydra.overrides.task), cfg=job, hydra_cfg=job, working_dir=os.getcwd())
    merit = merit_of(without_hydra(job))
    return JobProcess(line, sweep.name, _gpus_to_pin(job.get("trainer") or {}), returned, directory, merit)


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _gpus_to_pin(trainer: Any) -> int:
    """Return how many GPUs to pin a job to: `sys.maxsize` for all; 0 if it uses none or lists GPU numbers itself."""
    devices = trainer.get("devices", 1)
    if trainer.get("accelerator", "auto") not in ("gpu", "cuda", "auto"):
        return 0
    if devices in (-1, "-1"):
        return sys.maxsize
    return devices if isinstance(devices, int) else 1 if devices == "auto" else 0


def _visible_gpus() -> list[str]:
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    return [str(gpu) for gpu in range(torch.cuda.device_count())]
