"""Train the net of one job, and write its run directory."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden

from start_training.callbacks.contracts import call_implemented, is_tested
from start_training.callbacks.divergence import Divergence
from start_training.callbacks.hyperparameters import Hyperparameters
from start_training.callbacks.last_checkpoint import LastCheckpoint
from start_training.callbacks.no_profiler import NoProfiler
from start_training.callbacks.own_module import OwnModule
from start_training.callbacks.progress import TrainingProgress
from start_training.callbacks.ranks_agree import RanksAgree
from start_training.config.build import build, build_datamodule, build_initializer, try_training
from start_training.config.build_module import BuiltModule, build_module
from start_training.config.build_task import build_task, merit_of
from start_training.config.devices import check_trainer, check_trainer_settings
from start_training.config.loggers import build_loggers, named_nodes, start_loggers
from start_training.config.mistakes import name_setting_in_errors
from start_training.config.top_level import check_top_level
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.ranks import in_joblib_worker, is_rank_zero
from start_training.runs.checkpoint import (
    check_callbacks_fit,
    check_optimizer_fits,
    interrupted_epoch,
    load_checkpoint,
    load_newest,
    stopped_within_epoch,
)
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.stop_signals import check, deferred
from start_training.training.checkpoint_fits import check_fits, check_module_fits
from start_training.training.mended import mended
from start_training.training.optimizer_modes import OptimizerModes, may_switch
from start_training.training.optuna_trial import TrialReport
from start_training.training.process_settings import quiet_lightning, restored_process_settings, seed_global_generators
from start_training.training.rank_processes import clear_errors
from start_training.training.record import Record, callbacks_of
from start_training.training.results import print_results


def train(job: Job) -> dict[str, Any]:
    """Train and test the net of a job, and write its run directory.

    In a sweep, the state of the run directory decides what to do: a finished job is skipped, an interrupted job resumes
    from its checkpoint, and a failed job starts anew. A run that diverges ends without an error.

    Returns: the content of summary.json; {} on ranks above 0.
    Raises:
        ValueError: a setting is not allowed.
        RunLost: memory ran out, or another process of the run was lost; the run can resume.
        Interrupted: SIGINT or SIGTERM was received; the newest checkpoint is kept.
    """
    with quiet_lightning(), restored_process_settings():
        return _train(job)


def _train(job: Job) -> dict[str, Any]:
    config, run, resumed = job.config, RunDirectory(job.directory), None
    if is_rank_zero():
        run.claim(config)
        clear_errors(run)
    if job.sweep is not None:  # the same result on all ranks: rank 0 changes the directory only in `begin`
        if run.finished:
            run.release()
            return run.summary() or {}
        if config["ckpt_path"] is None and (newest := load_newest(run)):
            config, resumed = {**config, "ckpt_path": str(newest[0])}, newest[1]
    with ExitStack() as until_written, Record(job, run) as record, name_setting_in_errors(config):
        # All settings are checked before any file in the run directory is changed.
        seed_global_generators(check_top_level(config).seed)
        if config["ckpt_path"] and resumed is None:
            resumed = load_checkpoint(config["ckpt_path"])
        built, datamodule = _build(record, config, resumed)
        trainer = record.trainer
        assert isinstance(trainer, pl.Trainer)
        start_loggers(trainer.loggers, config)
        until_written.enter_context(deferred())
        if is_rank_zero():
            until_written.enter_context(record.ranks.watched())
            origin = Path(config["ckpt_path"]) if resumed else None
            run.begin(config, resume_from=origin, step=resumed["global_step"] if resumed else 0)
        if config["compile"]:
            built.compile()
        trainer.fit(built.module, datamodule=datamodule, ckpt_path=config["ckpt_path"])
        record.collect_metrics()
        check()
        if is_tested(callbacks_of(trainer)) and built.tests(datamodule):
            trainer.test(built.module, datamodule=datamodule, verbose=False)
    if is_rank_zero():
        print_results(record)
    return record.summary


def _build(record: Record, config: Mapping[str, Any], resumed: dict[str, Any] | None) -> tuple[BuiltModule, Any]:
    """Build what the config of a record's job names, and check that the checkpoint `resumed` fits.

    Sets `net`, `initialization`, `initializer` and `trainer` of the record.
    """
    job, path = record.job, config["ckpt_path"]
    check_trainer(config.get("trainer"))
    datamodule = build_datamodule(config)
    built = build_module(config, datamodule)
    record.net, record.initialization = built.net, (drawn := built.initialization)
    if job.config["ckpt_path"]:  # typed, and not that of an interrupted run, which began with the drawn weights
        record.initialization = drawn.loaded(job.config["ckpt_path"])
    record.initializer = build_initializer(config["initializer"]) if drawn.complete else None
    if resumed and built.own:
        check_module_fits(resumed, built.module, path)
    elif resumed:
        check_fits(resumed, built.net, path)
        check_optimizer_fits(resumed, *try_training(config, built.net), path)
    record.trainer = trainer = build_trainer(job, record.run, built)
    check_callbacks_fit(resumed, callbacks_of(trainer), path)
    load_datamodule(datamodule, trainer, resumed, shared=job.sweep is not None)
    if not config["ckpt_path"]:
        record.initialization = mended(built.module if built.own else built.net, drawn, config, datamodule)
    # Lightning converts the module after it has loaded a checkpoint, which would round float64 weights.
    trainer.precision_plugin.convert_module(built.module)
    return built, datamodule


def check_settings(config: Mapping[str, Any], callbacks: str = "callbacks") -> None:
    """Check the settings of a config that can be checked without building the net and loading the data.

    Args:
        config: The plain config.
        callbacks: The group that holds the callbacks.
    Raises:
        ValueError: a setting is not allowed.
    """
    with name_setting_in_errors(config):
        check_top_level(config)
        check_trainer_settings(config.get("trainer"))
        datamodule, built = build_datamodule(config), build_callbacks(config, callbacks)
        build_task(config)
        try_training(config, torch.nn.Linear(2, 2))
        call_implemented(built, "check_settings", datamodule)


def build_callbacks(config: Mapping[str, Any], group: str = "callbacks") -> list[pl.Callback]:
    """Instantiate the callbacks named in a group of the config."""
    return [build(node, f"{group}.{name}") for name, node in named_nodes(config, group)]


def build_trainer(job: Job, run: RunDirectory, built: BuiltModule) -> pl.Trainer:
    """Build the Trainer of a job, with the callbacks of the config and those that write the run directory."""
    config = job.config
    callbacks = [
        *([OptimizerModes()] if built.own or may_switch(config["optimizer"]) else []),
        *build_callbacks(config),
        *([OwnModule(config["seed"])] if built.own else []),
        Hyperparameters(),
        RanksAgree(config_hash(config)),
        Divergence(config.get("monitor") if built.own else None),
        *([TrialReport(config["trial"], merit_of(config))] if config.get("trial") else []),
        LastCheckpoint(run.checkpoint),
    ]
    trainer = dict(config.get("trainer") or {})
    if in_joblib_worker():
        trainer["enable_progress_bar"] = False  # bars of several workers would overwrite each other
    if trainer.get("enable_progress_bar", True):
        callbacks.append(TrainingProgress(transient=job.sweep is not None))
    settings: dict[str, Any] = {} if "profiler" in trainer else {"profiler": NoProfiler()}
    if not built.own:
        settings["log_every_n_steps"] = 1  # it logs no metric per step; larger values make Lightning warn
    return build(
        trainer,
        "trainer",
        **settings,
        logger=build_loggers(job, run),
        callbacks=callbacks,
        default_root_dir=str(run.path),
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


_loaded: list[TensorDataModule] = []  # the datamodule of the last job, whose data the next job of a sweep can reuse


def load_datamodule(
    datamodule: Any, trainer: pl.Trainer | None, resumed: dict[str, Any] | None, *, shared: bool = False
) -> None:
    """Load the data of a `TensorDataModule` before the Trainer does; other datamodules load theirs in the Trainer.

    Args:
        trainer: The Trainer that will use the datamodule; None for a replica.
        resumed: The checkpoint that the run resumes from, which has to fit the training loader.
        shared: Whether to share loaded data with the previous job of this process.
    """
    if not isinstance(datamodule, TensorDataModule):
        _prepare_own(datamodule, trainer, resumed)
        return
    datamodule.trainer = trainer
    for last in _loaded if shared else []:
        datamodule.share(last)
    datamodule.prepare_data()
    datamodule.setup("fit")
    _loaded[:] = [datamodule] if shared else []
    if resumed and (epoch := interrupted_epoch(resumed)):
        datamodule.train_dataloader().check_resumes(epoch)


def _prepare_own(datamodule: Any, trainer: pl.Trainer | None, resumed: dict[str, Any] | None) -> None:
    """Prepare a Trainer for a datamodule of the user's, and say if it cannot continue the epoch of a checkpoint."""
    if trainer is not None and not is_overridden("val_dataloader", datamodule, pl.LightningDataModule):
        trainer.limit_val_batches = 0  # avoids Lightning's warning
    if resumed and stopped_within_epoch(resumed) and not interrupted_epoch(resumed) and is_rank_zero():
        print(
            f"the checkpoint was written within an epoch, and the loader of {type(datamodule).__name__} has no "
            "state_dict to continue it: this epoch may use some samples twice and others never; the next ones do not",
            file=sys.stderr,
        )
