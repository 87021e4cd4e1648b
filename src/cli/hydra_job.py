"""Run one job composed by Hydra, and turn errors and signals into messages and exit statuses."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from start_training.config.composed import check_script, plain
from start_training.config.errors import (
    ReportedError,
    error_message,
    is_user_error,
    print_error,
    prints_errors,
    users_environment,
)
from start_training.config.mistakes import name_deleted_in_errors, name_size_in_errors
from start_training.config.top_level import check_effects, check_top_level
from start_training.files.disk_errors import FULL, DiskError, disk_error
from start_training.launchers.process_tree import DISK_IS_FULL, OF_SWEEPS, SWEEP
from start_training.launchers.workers import in_worker
from start_training.ranks import in_joblib_worker
from start_training.runs.directory import RunDirectoryLocked
from start_training.runs.job import Job, shown_overrides
from start_training.stop_signals import Interrupted, raising

Work = Callable[[Job, DictConfig], int | None]


def run_job(config: DictConfig, work: Work, *, resume_hint: Callable[[Path], str]) -> int:
    """Run `work` on the job that Hydra has composed.

    A user error is printed in one line. It ends the process with status 1; in a multirun it ends only this job.

    Args:
        config: the config that Hydra passes to the task function.
        work: called with the job and its config; prints its result and returns an exit status, or None for 0.
        resume_hint: returns how to continue in the job's directory, printed after a signal; "": nothing is printed.

    Returns:
        The exit status of `work`; 0 if the job was interrupted in a worker, or another process is running it.
    Raises:
        SystemExit: the job failed in a single run, or was interrupted outside a worker.
        ReportedError: the job failed in a multirun; its error has been printed.
        Exception: any error that is not a user error, unchanged, unless this process is a worker.
    """
    hydra = HydraConfig.get()
    in_sweep, directory = hydra.mode == RunMode.MULTIRUN, Path(hydra.runtime.output_dir)
    sweep = Path(hydra.sweep.dir).name if in_sweep else os.environ.get(SWEEP)
    try:
        check_script(config, str(hydra.job.config_name))
        _check_mode(hydra.overrides.hydra, in_sweep=in_sweep)
    except ValueError as error:
        print_error(error)
        sys.exit(1)  # ends the whole sweep: every job of the command has this mistake
    try:
        composed, choices = plain(config), dict(hydra.runtime.choices)
        typed = tuple(shown_overrides(hydra.overrides.task))
        job = Job(composed, directory, typed, sweep, choices, command=str(hydra.job.name))
        check_top_level(job.config)
        check_effects(config, job.overrides)
        with users_environment(), raising(), name_size_in_errors(job.config), name_deleted_in_errors(job.overrides):
            return work(job, config) or 0
    except Interrupted as interruption:
        hint = resume_hint(directory)
        print(f"interrupted{hint and ': '}{hint}", file=sys.stderr)
        if not (in_sweep and in_worker(hydra.launcher)):
            sys.exit(interruption.exit_status)  # ends the sweep, too
    except ReportedError:
        raise
    except Exception as error:
        if prints_errors() and (disk := disk_error(error, directory)):
            _end_at_disk_error(disk, in_multirun=in_sweep, of_sweep=sweep is not None, hint=resume_hint(directory))
        _report(error, in_multirun=in_sweep, of_sweep=sweep is not None)
    return 0


def _check_mode(overrides: Sequence[str], *, in_sweep: bool) -> None:
    """Raise ValueError for an override that has no effect in a single run, or none in a multirun; Hydra ignores it.

    The directories of both may be typed together, as scripts do whose words serve for runs and for sweeps.
    """
    typed = dict(word.lstrip("+").partition("=")[::2] for word in overrides)
    both = {"hydra.run.dir", "hydra.sweep.dir"} <= typed.keys()
    for key, value in typed.items():
        if in_sweep and key == "hydra.run.dir" and not both:
            raise ValueError(f"{key} = {value}: has no effect in a multirun; must be hydra.sweep.dir={value}")
        if not in_sweep and key.startswith(OF_SWEEPS) and not (both and key == "hydra.sweep.dir"):
            instead = f"hydra.run.dir={value}" if key == "hydra.sweep.dir" else "left out"
            raise ValueError(f"{key} = {value}: has no effect in a single run; must be {instead}, or -m added")


def _end_at_disk_error(error: DiskError, *, in_multirun: bool, of_sweep: bool, hint: str) -> None:
    """Print the error of a disk in one line, and end the job, and if the disk takes no more files the sweep, too."""
    full, then = error.errno in FULL, "repeat the command" if of_sweep else hint
    stops = "the sweep stops; " if full and of_sweep else ""
    print(f"error: {error}; {stops}free space there, then {then}", file=sys.stderr)
    if in_multirun and in_worker(HydraConfig.get().launcher):
        if full and in_joblib_worker():
            os.kill(os.getpid(), signal.SIGTERM)  # this worker starts no further job
        raise ReportedError(str(error)) from error
    if in_multirun and not full:
        raise ReportedError from error
    sys.exit(DISK_IS_FULL if full and of_sweep and not in_multirun else 1)


def _report(error: Exception, *, in_multirun: bool, of_sweep: bool) -> None:
    """Print the error of a job and end the job: by SystemExit in a single run, by ReportedError in a multirun.

    Returns normally if the job belongs to a sweep and another process is running it.
    """
    if not isinstance(error, RunDirectoryLocked) and not (prints_errors() and is_user_error(error)):
        if in_multirun:
            traceback.print_exc()  # Hydra would print it only after the last job
        if in_multirun and in_worker(HydraConfig.get().launcher):
            raise ReportedError(error_message(error)) from error  # the parent process cannot unpickle every exception
        raise error
    print_error(error)
    if isinstance(error, RunDirectoryLocked) and of_sweep:
        return  # not a failure: the process that holds the lock runs this job
    if in_multirun and not isinstance(error, RunDirectoryLocked):
        raise ReportedError from error
    sys.exit(1)
