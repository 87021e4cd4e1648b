"""Train one net: from a job to a finished run directory."""

import logging
import os
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console

from start_training.callbacks.contracts import answers, is_tested
from start_training.callbacks.divergence import Divergence
from start_training.callbacks.hyperparameters import Hyperparameters
from start_training.callbacks.last_checkpoint import LastCheckpoint
from start_training.callbacks.no_profiler import NoProfiler
from start_training.callbacks.progress import TrainingProgress
from start_training.callbacks.ranks_agree import RanksAgree
from start_training.config.build import (
    build,
    build_classifier,
    build_datamodule,
    build_initializer,
    build_net,
    build_optimizer,
    build_schedule,
    try_training,
)
from start_training.config.devices import check_trainer
from start_training.config.loggers import build_loggers, named_nodes, start_loggers
from start_training.config.mistakes import settings_in
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.ranks import in_joblib_worker, is_rank_zero
from start_training.reports import run_clues, run_report
from start_training.runs.checkpoint import (
    check_fits,
    check_optimizer_fits,
    interrupted_epoch,
    load_checkpoint,
    load_newest,
)
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.settings import seed
from start_training.training.record import Record, callbacks_of


def train(job: Job) -> dict[str, Any]:
    """Run a job and return its summary, the last thing written in its directory; {} on ranks above 0.

    A job of a sweep goes on: one that its directory says is finished is left alone, one that was cut off resumes
    from its checkpoint, one that failed begins anew.
    A run that diverges is a result. One that a signal interrupts leaves a checkpoint and raises `Interrupted`;
    one that fails raises what it failed of. Raises ValueError for a setting that no run could use.
    """
    with quiet_lightning(), nothing_left_behind():
        return _train(job)


def _train(job: Job) -> dict[str, Any]:
    config, run = job.config, RunDirectory(job.directory)
    if is_rank_zero():
        run.claim(config)
    if job.sweep is not None:  # ranks above 0 come to the same answer: rank 0 changes the directory in `begin` alone
        if run.finished:
            run.release()
            return run.summary() or {}
        if config["ckpt_path"] is None and (newest := load_newest(run)):
            config = {**config, "ckpt_path": str(newest[0])}
    with Record(job, run) as record, settings_in(config):
        # What can be wrong with the settings shows here, before anything that lies in the directory is touched.
        seed_global_generators(seed("seed", config["seed"]))
        check_trainer(config.get("trainer") or {})
        resumed = load_checkpoint(config["ckpt_path"]) if config["ckpt_path"] else None
        datamodule = build_datamodule(config)
        record.net = net = build_net(config, datamodule)
        record.initializer = build_initializer(config["initializer"])
        if resumed:
            check_fits(resumed, net, config["ckpt_path"])
            check_optimizer_fits(resumed, *try_training(config, net), config["ckpt_path"])
        classifier = build_classifier(config, net, datamodule)
        record.trainer = trainer = build_trainer(job, run)
        # Lightning would do so after it has restored a checkpoint's weights, and thereby round those in float64.
        trainer.precision_plugin.convert_module(classifier)
        load(datamodule, trainer, resumed, shared=job.sweep is not None)
        start_loggers(trainer.loggers, config)
        if is_rank_zero():
            origin = Path(config["ckpt_path"]) if resumed else None
            run.begin(config, resume_from=origin, step=resumed["global_step"] if resumed else 0)
        if config["compile"]:
            torch.compiler.reset()  # or a net of an earlier job, compiled without hooks, would lend this one its graph
            net.compile()
        trainer.fit(classifier, datamodule=datamodule, ckpt_path=config["ckpt_path"])
        record.collect_metrics()
        if is_tested(callbacks_of(trainer)):
            trainer.test(classifier, datamodule=datamodule, verbose=False)
    if is_rank_zero():
        show(record)
    return record.summary


def check_settings(config: Mapping[str, Any]) -> None:
    """Raises ValueError, as `train` would, for what is wrong with a config without a look at its net or data."""
    with settings_in(config):
        seed("seed", config["seed"])
        datamodule, callbacks = build_datamodule(config), build_callbacks(config)
        build_optimizer(config), build_schedule(config)
        answers(callbacks, "check_settings", datamodule)


def build_callbacks(config: Mapping[str, Any]) -> list[pl.Callback]:
    """Those that the config names."""
    return [build(node, f"callbacks.{name}") for name, node in named_nodes(config, "callbacks")]


def build_trainer(job: Job, run: RunDirectory) -> pl.Trainer:
    """The Trainer of the config, with the run directory's loggers and callbacks."""
    config = job.config
    callbacks = [
        *build_callbacks(config),
        Hyperparameters(),
        RanksAgree(config_hash(config)),
        Divergence(),
        LastCheckpoint(run.checkpoint),
    ]
    trainer = dict(config.get("trainer") or {})
    if in_joblib_worker():
        trainer["enable_progress_bar"] = False  # the workers' bars would run into each other
    if trainer.get("enable_progress_bar", True):
        callbacks.append(TrainingProgress(transient=job.sweep is not None))
    settings = {} if "profiler" in trainer else {"profiler": NoProfiler()}
    return build(
        trainer,
        "trainer",
        **settings,
        logger=build_loggers(job, run),
        callbacks=callbacks,
        default_root_dir=str(run.path),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # nothing is logged by step; a larger number makes Lightning warn of short epochs
    )


_loaded: list[TensorDataModule] = []  # the last one of a sweep, which the next job of this process mostly shares


def load(datamodule: Any, trainer: pl.Trainer | None, resumed: dict[str, Any] | None, *, shared: bool = False) -> None:
    """Load this project's sets before the Trainer does, which then finds them loaded."""
    if isinstance(datamodule, TensorDataModule):
        datamodule.trainer = trainer
        for last in _loaded if shared else []:
            datamodule.share(last)
        datamodule.prepare_data()
        datamodule.setup("fit")
        _loaded[:] = [datamodule] if shared else []
        if resumed and (epoch := interrupted_epoch(resumed)):
            datamodule.train_dataloader().check_resumes(epoch)


def seed_global_generators(seed: int) -> None:
    """For what draws without asking for a generator. Unlike Lightning's, it leaves no environment variable."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """What a Trainer sets for the whole process (`deterministic`, `benchmark`, variables) is this job's alone."""
    environment, deterministic = dict(os.environ), torch.are_deterministic_algorithms_enabled()
    warns, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's remarks on which devices it found (config.yaml says which it uses); its warnings stay."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Lightning 2.6.6 on torch 2.15: a torch-internal tree function that it calls is deprecated.
        warnings.filterwarnings("ignore", message=".isinstance.treespec, LeafSpec", category=FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def show(record: Record) -> None:
    """Print the run's results; those of a sweep's job in one line."""
    summary, callbacks, in_sweep = record.summary, callbacks_of(record.trainer), record.job.sweep is not None
    steps = f"{summary['steps']} steps in {summary['seconds']:.1f} s"
    sentences = [line for line in answers(callbacks, "sentence", summary, short=in_sweep) if line]
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if in_sweep:
        accuracy = summary["metrics"].get("test/accuracy")
        result = [summary["status"], *([] if accuracy is None else [f"test accuracy {accuracy:.1%}"]), *sentences]
        console.print(f"{record.job.name}: {', '.join(result)}; {steps}")
        return
    if summary["metrics"].keys() & {"test/accuracy", "test/loss"}:
        console.print(run_report.metrics_table(summary["metrics"]), soft_wrap=False)
    if record.lengths:
        console.print(run_report.lengths_table(record.lengths), soft_wrap=False)
    ended = f"{summary['status']}: {summary['reason']}; {steps}"
    clues = f"clues: {run_clues.sentence(summary['clues'])}"
    for line in (*sentences, clues, ended, f"run directory: {run_report.relative(record.run.path)}"):
        if line != summary["reason"]:  # which is part of the line on how the run ended
            console.print(line)
