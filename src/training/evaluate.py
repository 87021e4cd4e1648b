"""Test the checkpoint of a run, using only its run directory."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from start_training.config.build import build_datamodule, build_optimizer
from start_training.config.build_module import build_module
from start_training.config.devices import check_accelerator
from start_training.config.mistakes import accepts, name_setting_in_errors
from start_training.files.damaged_file import DamagedFile
from start_training.runs.checkpoint import load_checkpoint, net_state
from start_training.runs.directory import RunDirectory
from start_training.training.checkpoint_fits import check_fits, check_module_fits
from start_training.training.optimizer_modes import evaluate_averages
from start_training.training.process_settings import quiet_lightning


def evaluate(
    directory: Path, *, accelerator: str = "cpu", data_dir: str | None = None, trust: Collection[str] = ()
) -> dict[str, float]:
    """Compute test metrics of the net in a run's last checkpoint, on the run's data.

    Args:
        directory: The run directory.
        accelerator: As Lightning's Trainer.
        data_dir: The directory of the data; None: the environment variable DATA_DIR, or that in the run's config.
        trust: Packages that the run's config may name, besides this project's own classes, torch's optimizers and
            schedulers.
    Returns:
        `test/loss` and `test/accuracy`, or the score of another task.
    Raises:
        ValueError: the run has no checkpoint, the checkpoint does not fit the net of the run's config, or the config
            names a class or function that is not trusted; nothing that it names has then been imported.
    """
    run = RunDirectory(directory)
    config: dict[str, Any] = run.config(trust=trust)
    if missing := [group for group in ("model", "initializer", "datamodule", "optimizer", "trainer")
                   if config.get(group) is None]:  # fmt: skip
        raise DamagedFile(run.config_file, f"it has no {', '.join(missing)}")
    check_accelerator("--accelerator", accelerator)
    checkpoint = load_checkpoint(run.checkpoint, "checkpoint")
    has_directory = accepts(config["datamodule"], "datamodule", "data_dir")
    if data_dir is not None and not has_directory:
        name = config["datamodule"]["_target_"]
        raise ValueError(f"--data-dir = {data_dir!r}: has no effect on the data of {name}; must be left out")
    if has_directory and (folder := data_dir or os.environ.get("DATA_DIR")):
        config["datamodule"]["data_dir"] = folder
    with quiet_lightning(), name_setting_in_errors(config):
        datamodule = build_datamodule(config)
        built = build_module(config, datamodule)
        if built.own:
            check_module_fits(checkpoint, built.module, run.checkpoint)
            built.module.load_state_dict(checkpoint["state_dict"])
        else:
            check_fits(checkpoint, built.net, run.checkpoint)
            built.net.load_state_dict(net_state(checkpoint))
            evaluate_averages(build_optimizer(config)(built.module.parameters()), checkpoint["optimizer_states"][0])
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=config["trainer"].get("precision", "32-true"),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        return dict(trainer.test(built.module, datamodule=datamodule, verbose=False)[0])
