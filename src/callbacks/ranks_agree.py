"""Refuse to train when the processes of a run do not belong together."""

import pytorch_lightning as pl
import torch

from start_training.ranks import gather


class RanksAgree(pl.Callback):
    """At the start of fitting, all ranks are there and were given the same config, or a RuntimeError says so.

    Launchers that repeat a command line can start ranks of different jobs, which would then train together.
    """

    def __init__(self, config_hash: str) -> None:
        self.config_hash = config_hash

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        there = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if there != trainer.world_size:
            raise RuntimeError(f"{there} processes are there, and the trainer counts on {trainer.world_size}")
        number = torch.tensor(int(self.config_hash, 16), device=pl_module.device)
        hashes = [f"{int(value):012x}" for value in gather(number)]
        if len(set(hashes)) > 1:
            raise RuntimeError(f"the processes of this run were given different configs: {', '.join(hashes)}")
