"""Jobs in the workers of other packages' launchers: how signals and dead workers are handled there and here."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from threading import Event
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from start_training.config.errors import ReportedError
from start_training.launchers.process_tree import die_with_parent
from start_training.launchers.traits import traits_of
from start_training.ranks import in_joblib_worker
from start_training.runs.outcome import Interrupted


class NotStarted(ValueError):
    """A launcher has refused its jobs, for a mistake of the user's, and begun none."""


_signals: list[int] = []  # that this process got, as one of joblib's workers
_busy = Event()  # set while it does a job


def launch(launcher: Any, config: DictConfig, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """Launch jobs and wait until all have ended, also after a signal and where one of them dies.

    joblib's workers are sent SIGTERM for the first SIGINT or SIGTERM, and write checkpoints; then the process ends by
    SystemExit. A second signal ends it at once.

    Args:
        launcher: a launcher of Hydra's, set up.
        config: the multirun's, whose `hydra.launcher` it is.
        jobs: the overrides of each.
        first: the number of the first job.

    Raises:
        ValueError: a worker of joblib's died, or there is no SLURM.
    """
    traits, name = traits_of(config.hydra.launcher), config.hydra.runtime.choices["hydra/launcher"]
    try:
        if traits.child_workers:
            return _launch_children(launcher, jobs, first)
        with _deaths_are_failures() if traits.returns_results else nullcontext():
            return launcher.launch(jobs, initial_job_idx=first)
    except RuntimeError as error:
        if not traits.child_workers and "srun" not in str(error):
            raise
        raise ValueError(f"hydra/launcher = {name}: {str(error).splitlines()[0]}") from error


def in_worker(launcher: Mapping[str, Any]) -> bool:
    """Whether this process runs a job for another that waits for its result, and would miss it after `sys.exit`."""
    return in_joblib_worker() or traits_of(launcher).returns_results


@contextmanager
def worker() -> Iterator[bool]:
    """Around a job; gives whether to do it, which is False in a worker that was asked to end."""
    if not in_joblib_worker():
        with _submitit_waits_for_training():
            yield True
        return
    if os.getpgrp() != os.getpid():  # its first job
        os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the parent alone, which passes it on once
        die_with_parent()
        signal.signal(signal.SIGTERM, _on_signal)
    _busy.set()
    try:
        yield not _signals
    finally:
        _busy.clear()


def interrupted(signum: int) -> None:
    """A signal ended this worker's job: it is to start no other."""
    _signals.append(signum)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    _signals.append(signum)
    if _busy.is_set():  # but not training, where a callback listens
        raise Interrupted(signum)


def _launch_children(launcher: Any, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    signals: list[int] = []

    def on_signal(signum: int, frame: FrameType | None) -> None:
        workers = multiprocessing.active_children()
        if signals or not workers:
            raise KeyboardInterrupt
        signals.append(signum)
        for process in workers:
            process.terminate()

    handlers = {signum: signal.signal(signum, on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        return launcher.launch(jobs, initial_job_idx=first)
    except RuntimeError:  # a worker was killed, or had not yet begun when the signal came
        if not signals:
            raise
        return []
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        if signals:
            sys.exit(128 + signals[0])


@contextmanager
def _deaths_are_failures() -> Iterator[None]:
    """Wait for all jobs of submitit's launcher, which would raise at the first one whose process left no result.

    The launcher collects `Job.results()` itself, so that this method is the only place to turn a death into a result.
    """
    try:
        from submitit import Job
        from submitit.core.utils import FailedJobError, UncompletedJobError
    except ImportError:  # the launcher is another
        yield
        return
    results = Job.results

    def results_or_failure(job: Any) -> list[Any]:
        try:
            return results(job)
        except (FailedJobError, UncompletedJobError) as error:
            dead = JobReturn(status=JobStatus.FAILED)
            dead._return_value = ReportedError(
                f"its process left no result; see {job.paths.stderr}: {_last_line(error)}"
            )
            return [dead]

    Job.results = results_or_failure  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Job.results = results  # type: ignore[method-assign]


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
