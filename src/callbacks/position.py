"""How far a training has come: its epochs, its steps, and the scaling variable of the next step."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch.optim import SGD

from start_training.callbacks.contracts import GroupRun
from start_training.datamodules.loader import TrainingLoader
from start_training.order_chaos.scaling_law import scaling_variable


def crosses(every: int | None, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in (before, step]; None has no multiples.

    A batch that only accumulates gradients takes no step, and manual optimization may take several.

    Example:
        >>> crosses(4, 3, 9), crosses(4, 4, 7), crosses(None, 3, 9)
        (True, False, False)
    """
    return every is not None and step // every > before // every


def epochs_trained(trainer: pl.Trainer, *, starting: bool = False) -> float:
    """Epochs trained so far, of an unfinished one the fraction of its batches.

    An epoch of unknown length counts as a whole once it has begun.

    Args:
        starting: Whether the caller is `on_train_start`, where no batch of the epoch has been trained in this process.
    """
    batches, within = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_idx + 1
    if batches == math.inf:
        return trainer.current_epoch + (not starting)
    return trainer.current_epoch + (within % batches if starting else within) / batches


def scaling_of(trainer: pl.Trainer) -> float:
    """The scaling variable eta / ((1 − alpha) B) of the next step.

    B counts the samples of all ranks, and of all batches whose gradients are accumulated. NaN unless there is a single
    optimizer of torch's class SGD (see `sgd_scaling`), and the loader has a known batch size.
    """
    batch = global_batch(trainer)
    if batch is None or len(trainer.optimizers) != 1 or type(trainer.optimizers[0]) is not SGD:
        return math.nan
    return sgd_scaling(trainer.optimizers[0].param_groups[0], batch)


def sgd_scaling(group: Mapping[str, Any], batch: int) -> float:
    """The scaling variable eta / ((1 − alpha) B) of a parameter group of torch's SGD with B = `batch`.

    NaN where it is not defined: with dampening, for a learning rate of 0, and for momentum outside [0, 1).
    """
    eta, alpha = float(group["lr"]), float(group["momentum"])
    if group["dampening"] or not 0 < eta < math.inf or not 0 <= alpha < 1:
        return math.nan
    return scaling_variable(eta, alpha, batch)


def scaling_in_group(run: GroupRun, step: int) -> float:
    """`scaling_of` the step `step` of a run in a group."""
    return sgd_scaling(run.set_step(step), run.batch_size) if type(run.optimizer) is SGD else math.nan


def global_batch(trainer: pl.Trainer) -> int | None:
    """Samples of an optimizer step, over all ranks; None where the loader has no known batch size."""
    loader = trainer.train_dataloader
    if isinstance(loader, TrainingLoader):
        return loader.order.batch_size * trainer.accumulate_grad_batches  # its batch_size is that of all ranks
    batch = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not isinstance(batch, int) or batch < 1:
        return None
    return batch * trainer.world_size * trainer.accumulate_grad_batches
