"""Check that all processes of a distributed run were started with the same config."""

import pytorch_lightning as pl
import torch

from start_training.ranks import gather


class RanksAgree(pl.Callback):
    """Raise RuntimeError at the start of a fit unless all ranks have connected and have the same config.

    Launchers that repeat a command line can start ranks of different jobs, which would then train together.

    Args:
        config_hash: The hash of this process's config, 12 hexadecimal digits.
    """

    def __init__(self, config_hash: str) -> None:
        self.config_hash = config_hash

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        connected = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if connected != trainer.world_size:
            raise RuntimeError(
                f"number of processes = {connected}: the trainer expects {trainer.world_size} "
                "(trainer.devices × trainer.num_nodes)"
            )
        number = torch.tensor(int(self.config_hash, 16), device=pl_module.device)
        hashes = [f"{int(value):012x}" for value in gather(number)]
        if len(set(hashes)) > 1:
            raise RuntimeError(
                f"config hash = {', '.join(hashes)}: all processes of a run need the same config; "
                "start them with the same command line"
            )
