"""The ways of watching a net that the callback is compared with."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import wandb
from torch import Tensor, nn

from start_training.callbacks.activation_lengths import measured_net
from start_training.lengths.capture import measured_layers


class ReadEachLayer(pl.Callback):
    """The usual way: a forward hook on each layer that calls `.item()` on mean and variance of its length.

    On the layers that the callback measures, the input left out, in float32; the numbers go into a list.
    """

    def __init__(self) -> None:
        self.history: list[tuple[float, float]] = []
        self._handles: list[Any] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        net = measured_net(pl_module)
        for name in measured_layers(net):
            self._handles.append(net.get_submodule(name).register_forward_hook(self._read))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _read(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        lengths = output.detach().flatten(1).square().mean(1)
        self.history.append((lengths.mean().item(), lengths.var().item()))


class WatchWithWandb(pl.Callback):
    """`wandb.watch` of all weights and gradients, and one `log` call at each step; offline, in `directory`."""

    def __init__(self, directory: Path, log_freq: int) -> None:
        self.directory = directory
        self.log_freq = log_freq

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self.run = wandb.init(mode="offline", dir=self.directory, settings=settings)
        self.run.watch(measured_net(pl_module), log="all", log_freq=self.log_freq)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.run.log({"global_step": trainer.global_step})

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.run.unwatch()
        self.run.finish()
