"""The `process` launcher: jobs in process trees of their own, several at a time, each with GPUs of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from start_training.config.composed import composed_job
from start_training.config.errors import ReportedError
from start_training.launchers.process_tree import command, environment
from start_training.settings import positive_integer

POLL = 0.05  # seconds


@dataclass
class JobProcess:
    """A job's command line and the process that it becomes."""

    line: list[str]
    sweep: str
    gpus_asked: int
    returned: JobReturn
    gpus: list[str] = field(default_factory=list)
    output: list[IO[bytes]] = field(default_factory=list)  # stdout and stderr, where several jobs run at a time
    process: Any = None

    def start(self, gpus: list[str], variables: dict[str, str], *, hold_output: bool) -> None:
        """Start it on these GPUs. Output that is held is written when the process ends."""
        self.gpus = gpus
        self.output = [_temporary_file(), _temporary_file()] if hold_output else []
        stdout, stderr = self.output or (None, None)
        # In a session of its own, so that Ctrl-C in the terminal reaches the launcher only, which passes it on once.
        self.process = subprocess.Popen(
            self.line, env=environment(self.sweep, **variables), stdout=stdout, stderr=stderr, start_new_session=True
        )

    def send(self, signum: int) -> None:
        """Send a signal to all processes of the job, if it has not ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signum)

    def finish(self) -> None:
        """Write the held output and set what the job returns."""
        for held, stream in zip(self.output, (sys.stdout, sys.stderr), strict=False):
            held.seek(0)
            stream.write(held.read().decode(errors="replace"))
            stream.flush()
            held.close()
        status = self.process.returncode
        self.returned.status = JobStatus.FAILED if status else JobStatus.COMPLETED
        self.returned._return_value = ReportedError(f"its process ended with status {status}") if status else None


class _Pool:
    """Jobs running side by side, and which GPUs have how many of them."""

    def __init__(self, jobs: int | None) -> None:
        self.all_gpus = _visible_gpus()
        self.jobs = positive_integer("hydra.launcher.jobs", jobs if jobs is not None else max(1, len(self.all_gpus)))
        self.running: list[JobProcess] = []
        self.signals: list[int] = []

    def run(self, jobs: Sequence[JobProcess]) -> None:
        waiting = list(jobs)
        while self.running or (waiting and not self.signals):
            while waiting and not self.signals and (gpus := self._gpus_for(waiting[0])) is not None:
                self._start(waiting.pop(0), gpus)
            for job in [job for job in self.running if job.process.poll() is not None]:
                self.running.remove(job)
                job.finish()
            time.sleep(POLL)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.signals.append(signum)
        for job in self.running:
            job.send(signum)

    def _gpus_for(self, job: JobProcess) -> list[str] | None:
        """The least used ones; None where the job has to wait, for them or for one of the jobs at a time."""
        if len(self.running) >= self.jobs:
            return None
        share = -(-self.jobs // max(1, len(self.all_gpus)))
        used = Counter(gpu for other in self.running for gpu in other.gpus)
        free = sorted((gpu for gpu in self.all_gpus if used[gpu] < share), key=lambda gpu: used[gpu])
        number = min(job.gpus_asked, len(self.all_gpus))  # more are the user's mistake, which the job reports
        return free[:number] if len(free) >= number else None

    def _start(self, job: JobProcess, gpus: list[str]) -> None:
        variables = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            variables["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        job.start(gpus, variables, hold_output=self.jobs > 1)  # progress bars of several would run into each other
        self.running.append(job)
        for signum in self.signals:  # that came meanwhile
            job.send(signum)


def launch(
    config: DictConfig, config_loader: Any, overrides: Sequence[Sequence[str]], first: int, *, jobs: int | None
) -> list[JobReturn]:
    """Run a job for each list of overrides, in this order, as many at a time as there is room for.

    SIGINT and SIGTERM are passed on to the jobs, which write checkpoints; then the process ends by SystemExit.

    Args:
        config: the multirun's.
        config_loader: Hydra's.
        overrides: of each job.
        first: the number of the first job.
        jobs: how many at a time; None: one for each GPU, or one.
    """
    pool = _Pool(jobs)
    processes = [_job_process(config, config_loader, words, first + number) for number, words in enumerate(overrides)]
    handlers = {signum: signal.signal(signum, pool.on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        pool.run(processes)
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    if pool.signals:
        sys.exit(128 + pool.signals[0])
    return [job.returned for job in processes]


def _job_process(config: DictConfig, config_loader: Any, overrides: Sequence[str], number: int) -> JobProcess:
    job = composed_job(config, config_loader, overrides, number)
    sweep = Path(str(job.hydra.sweep.dir))
    line = command(job.hydra, overrides, Path(sweep, str(job.hydra.sweep.subdir)).resolve())
    returned = JobReturn(overrides=list(job.hydra.overrides.task), cfg=job, hydra_cfg=job, working_dir=os.getcwd())
    return JobProcess(line, sweep.name, _gpus_asked(job.get("trainer") or {}), returned)


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _gpus_asked(trainer: Any) -> int:
    """How many GPUs to pin a job to; 0 where it uses none, or names them itself."""
    devices = trainer.get("devices", 1)
    if trainer.get("accelerator", "auto") not in ("gpu", "cuda", "auto"):
        return 0
    if devices in (-1, "-1"):
        return sys.maxsize
    return devices if isinstance(devices, int) else 1 if devices == "auto" else 0


def _visible_gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    return [str(gpu) for gpu in range(torch.cuda.device_count())]
