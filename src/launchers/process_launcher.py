"""The `process` launcher: jobs in process trees of their own, several at a time, each with GPUs of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Job:
    line: list[str]
    sweep: str
    gpus: int
    returned: JobReturn


@dataclass(frozen=True)
class _Child:
    job: _Job
    process: subprocess.Popen[bytes]
    kept: list[IO[bytes]]  # its output and errors, where several run at a time
    gpus: list[str]


class _Pool:
    """Jobs running side by side, and which GPUs have how many of them."""

    def __init__(self, jobs: int | None) -> None:
        self.all_gpus = _visible_gpus()
        self.jobs = positive_integer("hydra.launcher.jobs", jobs if jobs is not None else max(1, len(self.all_gpus)))
        self.children: list[_Child] = []
        self.signals: list[int] = []

    def run(self, jobs: Sequence[_Job]) -> None:
        waiting = list(jobs)
        while self.children or (waiting and not self.signals):
            while waiting and self._has_room(waiting[0]) and not self.signals:
                self._start(waiting.pop(0))
            for child in [child for child in self.children if child.process.poll() is not None]:
                self.children.remove(child)
                _finish(child)
            time.sleep(POLL)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.signals.append(signum)
        for child in self.children:
            _send(child, signum)

    def _has_room(self, job: _Job) -> bool:
        return len(self.children) < self.jobs and self._gpus_for(job) is not None

    def _gpus_for(self, job: _Job) -> list[str] | None:
        """The least used ones; None where the job has to wait for them."""
        share = -(-self.jobs // max(1, len(self.all_gpus)))
        used = Counter(gpu for child in self.children for gpu in child.gpus)
        free = sorted((gpu for gpu in self.all_gpus if used[gpu] < share), key=lambda gpu: used[gpu])
        wanted = min(job.gpus, len(self.all_gpus))  # too many are the job's own mistake, which it says itself
        return free[:wanted] if len(free) >= wanted else None

    def _start(self, job: _Job) -> None:
        gpus = self._gpus_for(job) or []
        more = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            more["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        # Of several at a time the output is shown when one ends: progress bars would run into each other.
        kept = [_temporary_file(), _temporary_file()] if self.jobs > 1 else []
        process = subprocess.Popen(
            job.line,
            env=environment(job.sweep, **more),
            stdout=kept[0] if kept else None,
            stderr=kept[1] if kept else None,
            start_new_session=True,  # Ctrl-C in the terminal reaches the launcher alone, which passes it on once
        )
        self.children.append(_Child(job, process, kept, gpus))
        for signum in self.signals:  # that came meanwhile
            _send(self.children[-1], signum)


def launch(
    config: DictConfig, config_loader: Any, overrides: Sequence[Sequence[str]], first: int, *, jobs: int | None
) -> list[JobReturn]:
    """Run a job for each list of overrides, in this order, as many at a time as there is room for.

    SIGINT and SIGTERM are passed on to the jobs, which leave checkpoints; then the process ends by SystemExit.
    """
    pool = _Pool(jobs)
    all_jobs = [_job(config, config_loader, each, first + number) for number, each in enumerate(overrides)]
    handlers = {signum: signal.signal(signum, pool.on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        pool.run(all_jobs)
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
    if pool.signals:
        sys.exit(128 + pool.signals[0])
    return [job.returned for job in all_jobs]


def _job(config: DictConfig, config_loader: Any, overrides: Sequence[str], number: int) -> _Job:
    job = composed_job(config, config_loader, overrides, number)
    sweep = Path(str(job.hydra.sweep.dir))
    line = command(job.hydra, overrides, Path(sweep, str(job.hydra.sweep.subdir)).resolve())
    returned = JobReturn(overrides=list(job.hydra.overrides.task), cfg=job, hydra_cfg=job, working_dir=os.getcwd())
    return _Job(line, sweep.name, _gpus_wanted(job), returned)


def _finish(child: _Child) -> None:
    for kept, stream in zip(child.kept, (sys.stdout, sys.stderr), strict=False):
        kept.seek(0)
        stream.write(kept.read().decode(errors="replace"))
        stream.flush()
        kept.close()
    status, returned = child.process.returncode, child.job.returned
    returned.status = JobStatus.FAILED if status else JobStatus.COMPLETED
    returned._return_value = ReportedError(f"its process ended with status {status}") if status else None


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile()


def _send(child: _Child, signum: int) -> None:
    if child.process.poll() is None:
        os.killpg(child.process.pid, signum)


def _gpus_wanted(job: DictConfig) -> int:
    """How many GPUs to pin a job to; 0 where it uses none, or names them itself."""
    trainer = job.get("trainer") or {}
    if trainer.get("accelerator", "auto") not in ("gpu", "cuda", "auto"):
        return 0
    devices = trainer.get("devices", 1)
    if devices in (-1, "-1"):
        return sys.maxsize
    return devices if isinstance(devices, int) else 1 if devices == "auto" else 0


def _visible_gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    return [str(gpu) for gpu in range(torch.cuda.device_count())]
