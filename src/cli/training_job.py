"""The task function of the commands train and range_test: train one net or a group of replicas."""

import sys
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from start_training.cli.hydra_job import run_job
from start_training.config.build_task import merit_of
from start_training.config.composed import plain
from start_training.config.errors import ReportedError
from start_training.launchers.process_tree import (
    DISK_IS_FULL,
    check_launcher,
    end_with_parent,
    ranks_end_with_this_process,
    run_in_process_tree,
    starts_processes,
)
from start_training.launchers.replica_units import read_unit
from start_training.launchers.workers import worker_signals
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.stop_signals import Interrupted
from start_training.training.replica_runs import train_group
from start_training.training.results import objective_of
from start_training.training.train import train


def train_hydra_job(config: DictConfig) -> float | None:
    """Train the net, or the group of replicas, of a job that Hydra has composed.

    A job of a multirun that needs several processes (DDP) is run in its own process tree.

    Returns:
        The objective of the run, which Hydra passes to its sweeper; None for a group, or if the run has not finished.
    """
    end_with_parent()
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN

    def work(job: Job, config: DictConfig) -> None:
        if job.config.get("replicas"):
            jobs, checkpoint_seconds = read_unit(job)
            train_group(jobs, checkpoint_seconds=checkpoint_seconds)
            return
        trainer = job.config.get("trainer")
        if in_sweep and starts_processes(trainer):
            check_launcher(trainer, hydra.launcher)
            _train_in_process_tree(job)
        else:
            with ranks_end_with_this_process() if starts_processes(trainer) else nullcontext():
                train(job)

    with worker_signals() as proceed:
        if proceed:
            run_job(config, work, resume_hint=(lambda _: "") if in_sweep or config.get("replicas") else _how_to_resume)
            if not config.get("replicas"):
                return objective_of(RunDirectory(Path(hydra.runtime.output_dir)), merit_of(plain(config)))
    return None


def _how_to_resume(directory: Path) -> str:
    run = RunDirectory(directory)
    if run.finished:
        return "the run had ended, and its results are complete"
    return f"resume with ckpt_path={run.checkpoint}" if run.resumable else "repeat the command"


def _train_in_process_tree(job: Job) -> None:
    status = run_in_process_tree(HydraConfig.get(), job.overrides, job.directory, str(job.sweep))
    if status == DISK_IS_FULL:
        sys.exit(1)  # ends the sweep
    if status >= 128:
        raise Interrupted(status - 128)
    if status:
        raise ReportedError  # the other process has printed the error
