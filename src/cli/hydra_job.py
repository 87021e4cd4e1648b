"""A job that Hydra has composed: its directory and sweep, and what becomes of a mistake or a signal in it."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from start_training.config.composed import check_script, plain
from start_training.config.errors import (
    ReportedError,
    error_message,
    is_users_mistake,
    print_error,
    prints_errors,
    users_environment,
)
from start_training.launchers.process_tree import SWEEP
from start_training.launchers.workers import in_worker, interrupted
from start_training.runs.directory import RunDirectoryLocked
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted

Work = Callable[[Job, DictConfig], int | None]


def run_job(config: DictConfig, work: Work, *, after_interrupt: str = "") -> int:
    """Do the job that Hydra has composed. A user's mistake ends the process with one line, in a multirun the job.

    Args:
        config: as Hydra hands it to a job.
        work: does the job, and prints its result on the terminal.
        after_interrupt: how to go on after a signal; `{directory}` is the job's.

    Returns:
        The exit status that `work` returned, 0 where it returned none or failed in a multirun.
    """
    hydra = HydraConfig.get()
    in_sweep, directory = hydra.mode == RunMode.MULTIRUN, Path(hydra.runtime.output_dir)
    sweep = Path(hydra.sweep.dir).name if in_sweep else os.environ.get(SWEEP)
    try:
        check_script(config, str(hydra.job.config_name))
    except ValueError as error:
        print_error(error)
        sys.exit(1)  # the whole sweep, whose other jobs are no better
    try:
        job = Job(plain(config), directory, overrides=tuple(hydra.overrides.task), sweep=sweep)
        with users_environment():
            return work(job, config) or 0
    except Interrupted as interruption:
        print(f"interrupted{after_interrupt and ': '}{after_interrupt.format(directory=directory)}", file=sys.stderr)
        if not (in_sweep and in_worker(hydra.launcher)):
            sys.exit(interruption.exit_status)  # a SystemExit, which ends a sweep too
        interrupted(interruption.exit_status - 128)  # its directory says so, too
    except ReportedError:
        raise
    except Exception as error:
        _report(error, in_multirun=in_sweep, of_sweep=sweep is not None)
    return 0


def _report(error: Exception, *, in_multirun: bool, of_sweep: bool) -> None:
    """Print an error of a job, and end the job: the process, or in a multirun only the job by an exception."""
    if not isinstance(error, RunDirectoryLocked) and not (prints_errors() and is_users_mistake(error)):
        if in_multirun:
            traceback.print_exc()  # Hydra would keep it until the last job has ended
        if in_multirun and in_worker(HydraConfig.get().launcher):
            raise ReportedError(error_message(error)) from error  # some errors cannot be unpickled by who waits
        raise error
    print_error(error)
    if isinstance(error, RunDirectoryLocked) and of_sweep:
        return  # no failure: the process that writes there does the job
    if in_multirun and not isinstance(error, RunDirectoryLocked):
        raise ReportedError from error
    sys.exit(1)
