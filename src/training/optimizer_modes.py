"""Optimizers that evaluate other weights than they train, such as schedule-free ones: switched at the right times."""

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from start_training.callbacks.evaluation import evaluated_weights, switching
from start_training.config.mistakes import target_of


class OptimizerModes(pl.Callback):
    """Switch optimizers that have `train()` and `eval()` for validation and at the end of training.

    Checkpoints hold the weights of training. After training, the module has the weights to evaluate.
    Source: Defazio et al. 2024 (arXiv:2405.15682), schedule-free optimizers.
    """

    def __init__(self) -> None:
        self._validation = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer in switching(trainer.optimizers):
            optimizer.train()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._validation.enter_context(evaluated_weights(trainer.optimizers))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validation.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._validation.close()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer in switching(trainer.optimizers):
            optimizer.eval()


def may_switch(optimizer: Mapping[str, Any]) -> bool:
    """Return whether the optimizer of a config may need `OptimizerModes`, whose hooks take time in every step.

    Args:
        optimizer: The node of the optimizer; what a function builds is not known.
    """
    target = target_of(optimizer, "optimizer")
    return not inspect.isclass(target) or bool(switching([target]))


def evaluate_averages(optimizer: Any, state: dict[str, Any]) -> None:
    """Give the parameters of an optimizer, which hold those of a checkpoint, the values to evaluate.

    Args:
        optimizer: The optimizer of the run.
        state: Its state in the checkpoint.
    """
    for one in switching([optimizer]):
        one.load_state_dict(state)
        one.eval()
