"""The progress of training in steps and epochs, and the scaling variable of the next step."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch.optim import SGD

from start_training.callbacks.contracts import GroupRun
from start_training.datamodules.loader import TrainingLoader
from start_training.order_chaos.scaling_law import scaling_variable


def crosses(period: int | None, before: int, step: int) -> bool:
    """Return whether a multiple of `period` lies in (before, step]; False if `period` is None.

    `before` and `step` are step counts before and after a batch: they are equal if the batch only accumulates
    gradients, and may differ by more than 1 with manual optimization.

    Example:
        >>> crosses(4, 3, 9), crosses(4, 4, 7), crosses(None, 3, 9)
        (True, False, False)
    """
    return period is not None and step // period > before // period


def epochs_trained(trainer: pl.Trainer, *, starting: bool = False) -> float:
    """Return the number of epochs trained so far, including the fraction of an unfinished epoch.

    An epoch of unknown length counts as a whole once it has begun.

    Args:
        starting: Whether the caller is `on_train_start`, before this process has trained a batch of the epoch.
    """
    batches, within = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_idx + 1
    if batches == math.inf:
        return trainer.current_epoch + (not starting)
    return trainer.current_epoch + (within % batches if starting else within) / batches


def scaling_of(trainer: pl.Trainer) -> float:
    """Compute the scaling variable eta / ((1 − alpha) B) of the next step.

    eta is the learning rate, alpha the momentum, and B the number of samples over all ranks and accumulated batches.
    NaN unless there is one optimizer, torch's SGD (see `sgd_scaling`), and the loader has a known batch size.
    """
    batch = global_batch(trainer)
    if batch is None or len(trainer.optimizers) != 1 or type(trainer.optimizers[0]) is not SGD:
        return math.nan
    return sgd_scaling(trainer.optimizers[0].param_groups[0], batch)


def sgd_scaling(group: Mapping[str, Any], batch: int) -> float:
    """Compute the scaling variable eta / ((1 − alpha) B) of a parameter group of torch's SGD with B = `batch`.

    NaN if the variable is not defined: with dampening, for a learning rate of 0, and for momentum outside [0, 1).
    """
    eta, alpha = float(group["lr"]), float(group["momentum"])
    if group["dampening"] or not 0 < eta < math.inf or not 0 <= alpha < 1:
        return math.nan
    return scaling_variable(eta, alpha, batch)


def scaling_in_group(run: GroupRun, step: int) -> float:
    """Compute the scaling variable of step `step` for a run in a group of replicas; NaN unless it uses torch's SGD."""
    return sgd_scaling(run.set_step(step), run.batch_size) if type(run.optimizer) is SGD else math.nan


def global_batch(trainer: pl.Trainer) -> int | None:
    """Return the number of samples in an optimizer step over all ranks; None if the batch size is unknown."""
    loader = trainer.train_dataloader
    if isinstance(loader, TrainingLoader):
        return loader.order.batch_size * trainer.accumulate_grad_batches  # the batch size over all ranks
    batch = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not isinstance(batch, int) or batch < 1:
        return None
    return batch * trainer.world_size * trainer.accumulate_grad_batches
