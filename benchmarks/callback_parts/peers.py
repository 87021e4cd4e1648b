"""Callbacks of other trainers, attached to a Lightning Trainer, so that all methods are compared with the same steps.

Each peer's own, unchanged callback is called at the events at which its own trainer calls it. Both are optional
dependencies, and measure each step here, whatever their default.
"""

import warnings
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from start_training.callbacks.activation_lengths import measured_net


class FastaiStats(pl.Callback):
    """fastai's `ActivationStats`, which is called with the events of fastai's `Learner`."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what it imports
            hook: Any = import_module("fastai.callback.hook")
        self.stats = hook.ActivationStats()
        self.learner = SimpleNamespace(model=measured_net(pl_module), training=True, train_iter=0)
        self.stats.learn = self.learner
        self.stats("before_fit")

    def on_train_batch_start(self, *args: Any) -> None:
        self.stats("before_batch")

    def on_train_batch_end(self, *args: Any) -> None:
        self.learner.train_iter += 1
        self.stats("after_batch")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.stats("after_fit")


class ComposerMonitor(pl.Callback):
    """Composer's `ActivationMonitor`, which is called with the events of Composer's `Trainer`."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what it imports, and the advice to measure less often
            core, loggers, callbacks = (import_module(f"composer.{name}") for name in ("core", "loggers", "callbacks"))
            self.monitor = callbacks.ActivationMonitor(interval="1ba")
        self.state = SimpleNamespace(model=measured_net(pl_module), timestamp=core.Timestamp())
        self.logger = loggers.Logger(self.state)

    def on_train_batch_start(self, *args: Any) -> None:
        self.monitor.before_forward(self.state, self.logger)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        self.monitor.after_forward(self.state, self.logger)

    def on_train_batch_end(self, *args: Any) -> None:
        self.state.timestamp = self.state.timestamp.to_next_batch()
