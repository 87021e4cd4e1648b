"""A Hydra job: which directory and sweep it belongs to, and in which processes it runs."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from start_training.config.composed import check_depth, check_script, plain
from start_training.config.errors import Said, is_users_mistake, one_line, say, takes_errors, users_environment
from start_training.launchers.process_tree import SWEEP, check_launcher, end_with_parent, run_alone, starts_processes
from start_training.launchers.replica_units import read_unit
from start_training.launchers.workers import in_worker, interrupted, worker
from start_training.runs.directory import Taken
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted
from start_training.training.replica_runs import train_group
from start_training.training.train import train


def train_hydra_job(config: DictConfig) -> None:
    """Train the job that Hydra has composed, in processes of its own where it needs several."""
    end_with_parent()
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN

    def work(job: Job) -> None:
        if job.config.get("replicas"):
            unit = read_unit(job)
            train_group(unit.jobs, checkpoint_seconds=unit.checkpoint_seconds)
            return
        check_depth(job.config)
        trainer = job.config.get("trainer")
        if in_sweep and starts_processes(trainer):
            check_launcher(trainer, hydra.launcher)
            _train_alone(job)
        else:
            train(job)

    resume = "" if in_sweep or config.get("replicas") else "resume with ckpt_path={directory}/checkpoints/last.ckpt"
    with worker() as wanted:
        if wanted:
            run_hydra_job(config, work, after_interrupt=resume)


def run_hydra_job(config: DictConfig, work: Callable[[Job], object], *, after_interrupt: str = "") -> None:
    """Do the job that Hydra has composed. A user's mistake ends the process with one line, in a multirun the job.

    after_interrupt: how to go on after a signal; `{directory}` is the job's.
    """
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    directory = Path(hydra.runtime.output_dir)
    sweep = Path(hydra.sweep.dir).name if in_sweep else os.environ.get(SWEEP)
    try:
        check_script(config, str(hydra.job.config_name))
    except ValueError as error:
        say(error)
        sys.exit(1)  # the whole sweep, whose other jobs are no better
    try:
        job = Job(plain(config), directory, overrides=tuple(hydra.overrides.task), sweep=sweep)
        with users_environment():
            work(job)
    except Interrupted as interruption:
        print(f"interrupted{after_interrupt and ': '}{after_interrupt.format(directory=directory)}", file=sys.stderr)
        if in_sweep and in_worker(hydra.launcher):
            interrupted(interruption.exit_status - 128)  # its directory says so, too
        else:
            sys.exit(interruption.exit_status)  # a SystemExit, which ends a sweep too
    except Said:
        raise
    except Taken as error:
        say(error)
        if sweep is None:
            sys.exit(1)  # in a sweep it is no failure: whoever writes there sees to the job
    except Exception as error:
        if not takes_errors() or not is_users_mistake(error):
            if in_sweep:
                traceback.print_exc()  # Hydra would keep it until the last job has ended
            if in_sweep and in_worker(hydra.launcher):
                raise Said(one_line(error)) from error  # an error that does not unpickle would break all workers
            raise
        say(error)
        if in_sweep:
            raise Said from error
        sys.exit(1)


def _train_alone(job: Job) -> None:
    """For launchers whose workers are not this script."""
    status = run_alone(HydraConfig.get(), job.overrides, job.directory, str(job.sweep))
    if status >= 128:
        raise Interrupted(status - 128)
    if status:
        raise Said  # by that process
