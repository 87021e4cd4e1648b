"""Test the checkpoint of a run, using only its run directory."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from start_training.config.build import build_classifier, build_datamodule, build_net
from start_training.config.devices import check_accelerator
from start_training.config.mistakes import accepts, name_setting_in_errors
from start_training.runs.checkpoint import check_fits, load_checkpoint, net_state
from start_training.runs.damaged_file import DamagedFile
from start_training.runs.directory import RunDirectory
from start_training.training.train import quiet_lightning


def evaluate(directory: Path, *, accelerator: str = "cpu", data_dir: str | None = None) -> dict[str, float]:
    """Compute test metrics of the net in a run's last checkpoint, on the run's data.

    Args:
        directory: The run directory.
        accelerator: As Lightning's Trainer.
        data_dir: The directory of the data, if it differs from that in the run's config.
    Returns:
        `test/loss` and `test/accuracy`.
    Raises:
        ValueError: the run has no checkpoint, or the checkpoint does not fit the net of the run's config.
    """
    run = RunDirectory(directory)
    config: dict[str, Any] = run.config()
    if missing := [group for group in ("model", "initializer", "datamodule", "optimizer", "trainer")
                   if config.get(group) is None]:  # fmt: skip
        raise DamagedFile(run.config_file, f"it has no {', '.join(missing)}")
    check_accelerator("--accelerator", accelerator)
    checkpoint = load_checkpoint(run.checkpoint, "checkpoint")
    if data_dir is not None and accepts(config["datamodule"], "datamodule", "data_dir"):
        config["datamodule"]["data_dir"] = data_dir
    with quiet_lightning(), name_setting_in_errors(config):
        datamodule = build_datamodule(config)
        net = build_net(config, datamodule)
        check_fits(checkpoint, net, run.checkpoint)
        net.load_state_dict(net_state(checkpoint))
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=config["trainer"].get("precision", "32-true"),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        classifier = build_classifier(config, net, datamodule)
        return dict(trainer.test(classifier, datamodule=datamodule, verbose=False)[0])
