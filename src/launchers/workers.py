"""Jobs in the workers of launchers that are not ours: how they, and who waits for them, hear of signals and deaths."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from unittest.mock import patch

from hydra.core.utils import JobReturn, JobStatus

from start_training.config.errors import ReportedError
from start_training.launchers.process_tree import die_with_parent
from start_training.ranks import in_joblib_worker
from start_training.runs.outcome import Interrupted


class NotStarted(ValueError):
    """A launcher has refused its jobs, for a mistake of the user's, and begun none."""


@dataclass
class _Worker:
    """This process, as one of joblib's workers: the signals that its parent has sent it, and whether it has a job."""

    signals: list[int] = field(default_factory=list)
    busy: bool = False


_this = _Worker()


def launch(launcher: Any, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """`launcher.launch`, that waits until all jobs have ended, also after a signal and where one of them dies.

    joblib's workers are sent SIGTERM for the first SIGINT or SIGTERM and leave checkpoints; then the process ends by
    SystemExit. A second one ends it at once. Raises ValueError where a worker of joblib's dies, or there is no SLURM.
    """
    if type(launcher).__name__ == "JoblibLauncher":
        return _launch_joblib(launcher, jobs, first)
    with _deaths_are_failures():
        try:
            return launcher.launch(jobs, initial_job_idx=first)
        except RuntimeError as error:
            if "srun" not in str(error):
                raise
            raise ValueError(f"hydra/launcher = {type(launcher).__name__}: {error}") from error


def in_worker(launcher: Mapping[str, Any]) -> bool:
    """Whether this process runs a job for another that waits for its return, and would miss it after `sys.exit`."""
    name = str(launcher["_target_"]).lower()
    return in_joblib_worker() or any(known in name for known in ("submitit", "raylauncher"))


@contextmanager
def worker() -> Iterator[bool]:
    """Around a job: whether to do it, which a worker that was asked to end does not."""
    if not in_joblib_worker():
        with _submitit_waits_for_training():
            yield True
        return
    if os.getpgrp() != os.getpid():  # its first job
        os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the parent alone, which passes it on once
        die_with_parent()
        signal.signal(signal.SIGTERM, _on_signal)
    _this.busy = True
    try:
        yield not _this.signals
    finally:
        _this.busy = False


def interrupted(signum: int) -> None:
    """A worker's job was; it is to begin no other."""
    _this.signals.append(signum)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    _this.signals.append(signum)
    if _this.busy:  # but not training, where a callback listens
        raise Interrupted(signum)


def _launch_joblib(launcher: Any, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    signals: list[int] = []

    def on_signal(signum: int, frame: FrameType | None) -> None:
        workers = multiprocessing.active_children()
        if signals or not workers:
            raise KeyboardInterrupt
        signals.append(signum)
        for each in workers:
            each.terminate()

    handlers = {signum: signal.signal(signum, on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        return launcher.launch(jobs, initial_job_idx=first)
    except RuntimeError as error:  # joblib's, if a worker was killed or had not yet begun when the signal came
        if signals:
            return []
        raise ValueError(f"hydra/launcher = joblib: {str(error).splitlines()[0]}") from error
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        if signals:
            sys.exit(128 + signals[0])


@contextmanager
def _deaths_are_failures() -> Iterator[None]:
    """submitit raises the first of its jobs that left no result, which would leave the others unwaited for."""
    try:
        from submitit import Job
        from submitit.core.utils import FailedJobError, UncompletedJobError
    except ImportError:
        yield
        return
    results = Job.results

    def every_result(job: Any) -> list[Any]:
        try:
            return results(job)
        except (FailedJobError, UncompletedJobError) as error:
            dead = JobReturn(status=JobStatus.FAILED)
            dead._return_value = ReportedError(
                f"its process left no result; see {job.paths.stderr}: {_last_line(error)}"
            )
            return [dead]

    with patch.object(Job, "results", every_result):
        yield


def _last_line(error: BaseException) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip(" -")), "")


@contextmanager
def _submitit_waits_for_training() -> Iterator[None]:
    """Around a job: the signal that its time is over asks training for a checkpoint before submitit requeues the job.

    submitit's own handler ends the process in the middle of a step, with the checkpoint of the last epoch.
    """
    name = f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"
    requeue = signal.getsignal(getattr(signal, name)) if "SUBMITIT_EXECUTOR" in os.environ else None
    if not callable(requeue):
        yield
        return
    before, came = signal.getsignal(signal.SIGTERM), []

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGTERM) == before:  # not training
            requeue(signum, frame)
        else:
            came.append(signum)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(getattr(signal, name), on_signal)
    try:
        yield
    finally:
        signal.signal(getattr(signal, name), requeue)
        if came:
            requeue(came[0], None)
