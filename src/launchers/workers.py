"""Signals and dead workers in launchers of other packages (joblib, submitit): handling in the parent and in workers."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from start_training.config.errors import ReportedError
from start_training.launchers.process_tree import die_with_parent
from start_training.launchers.traits import traits_of
from start_training.ranks import in_joblib_worker
from start_training.stop_signals import Interrupted, deferred, deferring, received


class NotStarted(ValueError):
    """Raised when a launcher rejects its jobs because of a user error, before any job has started."""


_deferral = ExitStack()  # open from the first job of a joblib worker to its end


def launch(launcher: Any, config: DictConfig, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """Launch jobs and wait until all have ended, even if a signal arrives or a worker dies.

    With joblib, the first SIGINT or SIGTERM sends SIGTERM to the workers, which write checkpoints; a second signal
    ends the process at once.

    Args:
        launcher: a Hydra launcher, set up.
        config: the config of the multirun, with the config of this launcher in `hydra.launcher`.
        jobs: the overrides of each job.
        first: the number of the first job in the multirun.

    Returns:
        The result of each job, in the order of `jobs`.
    Raises:
        ValueError: a joblib worker died, or SLURM is not installed.
        Interrupted: a signal arrived, and joblib's workers have ended.
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
    """Return whether this process runs a job as a worker of a parent process that waits for the job's return value.

    Such a job must not call `sys.exit`, which would lose the value.

    Args:
        launcher: the config node `hydra.launcher`.
    """
    return in_joblib_worker() or traits_of(launcher).returns_results


@contextmanager
def worker_signals() -> Iterator[bool]:
    """Handle signals to this process while it runs a job, so that training writes a checkpoint first.

    Yields whether to run the job: False in a joblib worker that has already received a signal. A worker never ends on
    a signal: joblib would then kill the other workers, which are writing checkpoints.
    """
    if not in_joblib_worker():
        with _submitit_waits_for_training():
            yield True
        return
    if os.getpgrp() != os.getpid():  # first job of this worker
        os.setpgid(0, 0)  # Ctrl-C in the terminal then reaches only the parent, which sends the signal on once
        die_with_parent()
        _deferral.enter_context(deferred(lambda requests: None))
    yield not received()


def _launch_children(launcher: Any, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    def on_request(requests: int) -> None:
        workers = multiprocessing.active_children()
        if requests > 1 or not workers:
            raise Interrupted(received())
        for process in workers:
            process.terminate()

    with deferred(on_request):
        try:
            return launcher.launch(jobs, initial_job_idx=first)
        except RuntimeError:  # a worker was killed, or had not started when the signal arrived
            if not received():
                raise
            return []


@contextmanager
def _deaths_are_failures() -> Iterator[None]:
    """Make submitit's launcher treat a job whose process died as a failed job, while the context is open.

    By default it raises at the first such job and loses the results of the others. It calls `Job.results()` itself,
    so this method is patched.
    """
    try:
        from submitit import Job
        from submitit.core.utils import FailedJobError, UncompletedJobError
    except ImportError:  # the launcher is not submitit's
        yield
        return
    patched: Any = Job  # a type checker does not allow to replace a method
    results = Job.results

    def results_or_failure(job: Any) -> list[Any]:
        try:
            return results(job)
        except (FailedJobError, UncompletedJobError) as error:
            dead = JobReturn(status=JobStatus.FAILED)
            dead._return_value = ReportedError(
                f"the job's process ended without a result; see {job.paths.stderr}: {_last_line(error)}"
            )
            return [dead]

    patched.results = results_or_failure
    try:
        yield
    finally:
        patched.results = results


def _last_line(error: BaseException) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip(" -")), "")


@contextmanager
def _submitit_waits_for_training() -> Iterator[None]:
    """On submitit's timeout signal, let training write a checkpoint before submitit requeues the job.

    submitit's handler alone would end the process in the middle of a step, with the checkpoint of the last epoch.
    """
    name = f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"
    requeue = signal.getsignal(getattr(signal, name)) if "SUBMITIT_EXECUTOR" in os.environ else None
    if not callable(requeue):
        yield
        return
    timeouts: list[int] = []

    def on_signal(signum: int, frame: FrameType | None) -> None:
        if not deferring():  # training has not begun
            requeue(signum, frame)
        else:
            timeouts.append(signum)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(getattr(signal, name), on_signal)
    try:
        yield
    finally:
        signal.signal(getattr(signal, name), requeue)
        if timeouts:
            requeue(timeouts[0], None)
