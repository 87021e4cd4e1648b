"""A Hydra job: which directory and sweep it belongs to, and in which processes it runs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from src.jobs.command_line import Said, is_users_mistake, plain, say, takes_errors, users_environment
from src.jobs.record import Job
from src.jobs.train import train
from src.runs.outcome import Interrupted


def train_hydra_job(config: DictConfig) -> None:
    """Train the job that Hydra has composed, in processes of its own where it needs several."""
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN

    def work(job: Job) -> None:
        if in_sweep and _starts_processes(job):
            _train_in_a_process_tree_of_its_own(job)
        else:
            train(job)

    run_hydra_job(config, work, after_interrupt="resume with ckpt_path={directory}/checkpoints/last.ckpt")


def run_hydra_job(config: DictConfig, work: Callable[[Job], object], *, after_interrupt: str = "") -> None:
    """Do the job that Hydra has composed. A user's mistake ends the process with one line, in a multirun the job.

    after_interrupt: how to go on after a signal; `{directory}` is the job's.
    """
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    directory = Path(hydra.runtime.output_dir)
    sweep = Path(hydra.sweep.dir).name if in_sweep else os.environ.get(_SWEEP)
    if (script := config.get("script", hydra.job.config_name)) != hydra.job.config_name:
        say(ValueError(f"script = {script}: this experiment is one of scripts/{script}.py"))
        sys.exit(1)  # the whole sweep, whose other jobs are no better
    try:
        job = Job(plain(config), directory, overrides=tuple(hydra.overrides.task), sweep=sweep)
        with users_environment():
            work(job)
    except Interrupted as interruption:
        print(f"interrupted: {after_interrupt.format(directory=directory)}", file=sys.stderr)
        sys.exit(interruption.exit_status)  # a SystemExit, which ends a sweep too
    except Said:
        raise
    except Exception as error:
        if not takes_errors() or not is_users_mistake(error):
            raise
        say(error)
        if in_sweep:
            raise Said from error
        sys.exit(1)


_SWEEP = "HOW_TO_START_TRAINING_SWEEP"


def _starts_processes(job: Job) -> bool:
    """Whether Lightning will relaunch this script for other ranks, rather than find them started."""
    if SLURMEnvironment.detect() or TorchElasticEnvironment.detect():
        return False
    trainer = job.config.get("trainer") or {}
    return trainer.get("strategy", "auto") != "auto" or trainer.get("devices") not in (1, "auto")


def _train_in_a_process_tree_of_its_own(job: Job) -> None:
    """Run this script again for this job alone.

    Lightning starts the other ranks by repeating the command line, and in a multirun that is the whole sweep; what
    it leaves in the environment makes the next job of this process believe it is one rank of the last.
    """
    command = [sys.executable, sys.argv[0], *job.overrides, f"hydra.run.dir='{job.directory}'"]
    finished = subprocess.run(command, env={**os.environ, _SWEEP: str(job.sweep)}, check=False)
    if finished.returncode >= 128:
        raise Interrupted(finished.returncode - 128)
    if finished.returncode:
        raise Said  # by that process
