"""The ways to record each step that the benchmark `callback` compares: callbacks of Lightning, and their loggers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import wandb
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from torch import Tensor, nn

from benchmarks.callback_parts.peers import ComposerMonitor, FastaiStats
from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.lengths.coverage import Coverage
from start_training.lengths.forward_passes import measured_net

NOTHING = "nothing"
OURS = "ActivationLengths"
OURS_CSV, OURS_WANDB = f"{OURS} + CSV", f"{OURS} + W&B"
ITEM = "item_by_layer"


class Setting(NamedTuple):
    """What a method is to record.

    Args:
        directory: An empty directory to write to.
        period: Number of steps after which deferred work is done.
        layers: Names of the modules that ActivationLengths measures.
    """

    directory: Path
    period: int
    layers: Sequence[str] = ()


@dataclass(frozen=True)
class Method:
    """A way to record every step.

    Attributes:
        computes: What it does at each step.
        callback: Function of a setting that returns a new callback.
        logger: Function of an empty directory that returns a new logger of the Trainer; None for no logger.
        defers: Whether it defers work to every `period`-th step.
        needs: Distribution and module that are optional; empty if there are none.
        slow: Whether a step takes many times as long as a plain one, so that only a few can be timed.
    """

    computes: str
    callback: Callable[[Setting], pl.Callback]
    logger: Callable[[Path], Logger] | None = None
    defers: bool = False
    needs: tuple[str, ...] = ()
    slow: bool = False

    def missing(self) -> str:
        """Return the name of the distribution that is not installed, or an empty text."""
        return self.needs[0] if self.needs and find_spec(self.needs[1]) is None else ""


class ReadEachLayer(pl.Callback):
    """Callback with a forward hook on each layer that calls `.item()` on the mean and variance of its length.

    This is the usual way to record lengths. It appends the numbers to a list.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = layers
        self.history: list[tuple[float, float]] = []
        self._handles: list[Any] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        net = measured_net(pl_module)
        for name in self.layers:
            self._handles.append(net.get_submodule(name).register_forward_hook(self._read))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _read(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        lengths = output.detach().flatten(1).square().mean(1)
        self.history.append((lengths.mean().item(), lengths.var().item()))


class WatchWithWandb(pl.Callback):
    """Callback that calls `wandb.watch` for all weights and gradients, and `log` at each step; offline."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.run = _offline_run(self.directory)
        self.run.watch(measured_net(pl_module), log="all", log_freq=1)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.run.log({"global_step": trainer.global_step})

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.run.unwatch()
        self.run.finish()


class OfflineWandbLogger(WandbLogger):
    """Logger of an offline W&B run of its own, which ends with the training."""

    def __init__(self, directory: Path) -> None:
        super().__init__(experiment=_offline_run(directory))

    def finalize(self, status: str) -> None:
        super().finalize(status)
        self.experiment.finish()


def _offline_run(directory: Path) -> Any:
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    return wandb.init(mode="offline", dir=directory, settings=settings)


def _lengths(setting: Setting) -> pl.Callback:
    callback = ActivationLengths(setting.directory, flush_every_n_steps=setting.period)
    callback.coverage = Coverage({}, 0, (), 0)  # so that it is not printed in every training
    return callback


def _csv_logger(directory: Path) -> Logger:
    return CSVLogger(directory, flush_logs_every_n_steps=1)


_LENGTHS = "float64 mean and variance, over samples, of the length of each layer; to Parquet every 100 steps"
METHODS: dict[str, Method] = {
    NOTHING: Method("a callback that does nothing: shows the noise", lambda setting: pl.Callback()),
    OURS: Method(f"{_LENGTHS}; no logger", _lengths, defers=True),
    OURS_CSV: Method("the same, and curves of every 50th step to Lightning's CSVLogger", _lengths, _csv_logger, True),
    OURS_WANDB: Method("the same, and curves to W&B, offline", _lengths, OfflineWandbLogger, True),
    ITEM: Method(
        "a hook on each of these layers, except the input, that calls .item() on float32 mean and variance; in memory",
        lambda setting: ReadEachLayer(setting.layers),
    ),
    "wandb.watch": Method(
        "log='all': a histogram of each weight and gradient, no activations; to W&B, offline",
        lambda setting: WatchWithWandb(setting.directory),
    ),
    "ActivationStats": Method(
        "fastai's: mean, deviation and share near zero of the output of each module with weights and no children, over "
        "all its values; in memory",
        lambda setting: FastaiStats(),
        needs=("fastai", "fastai"),
    ),
    "ActivationMonitor": Method(
        "Composer's: norm, mean, kurtosis and maximum of each input of every module, and of each sample of its output; "
        "discarded, since it has no logger here",
        lambda setting: ComposerMonitor(),
        needs=("mosaicml", "composer"),
        slow=True,
    ),
}
