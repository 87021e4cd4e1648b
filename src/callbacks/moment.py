"""Where a training stands: how many epochs it has come, and at which scaling variable."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch.optim import SGD

from start_training.datamodules.loader import TrainingLoader
from start_training.order_chaos.scaling_law import scaling_variable


def epochs_trained(trainer: pl.Trainer, *, starting: bool = False) -> float:
    """A whole number at the end of an epoch, in the middle of one the share of its batches more.

    starting: whether asked in `on_train_start`. Of an epoch whose length nobody knows the share is none, or all of it.
    """
    batches, within = trainer.num_training_batches, trainer.fit_loop.epoch_loop.batch_idx + 1
    if batches == math.inf:
        return trainer.current_epoch + (not starting)
    return trainer.current_epoch + (within % batches if starting else within) / batches


def scaling_of(trainer: pl.Trainer) -> float:
    """eta / ((1 − alpha) B) of the next step; B is the batch of all ranks, under accumulation that of a whole step.

    NaN where the law says nothing: unless there is one optimizer, torch's SGD (see `sgd_scaling`), and where the
    loader does not say how large its batches are.
    """
    batch = global_batch(trainer)
    if batch is None or len(trainer.optimizers) != 1 or type(trainer.optimizers[0]) is not SGD:
        return math.nan
    return sgd_scaling(trainer.optimizers[0].param_groups[0], batch)


def sgd_scaling(group: Mapping[str, Any], batch: int) -> float:
    """eta / ((1 − alpha) B) of a parameter group of torch's SGD, whose steps are of `batch` samples.

    NaN where the law says nothing: with dampening, or unless the rate is above 0 and momentum in [0, 1).
    """
    eta, alpha = float(group["lr"]), float(group["momentum"])
    if group["dampening"] or not 0 < eta < math.inf or not 0 <= alpha < 1:
        return math.nan
    return scaling_variable(eta, alpha, batch)


def global_batch(trainer: pl.Trainer) -> int | None:
    """Samples of an optimizer step, over all ranks; None where the loader does not say."""
    loader = trainer.train_dataloader
    if isinstance(loader, TrainingLoader):
        return loader.order.batch_size * trainer.accumulate_grad_batches  # its batch_size is that of all ranks
    batch = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not isinstance(batch, int) or batch < 1:
        return None
    return batch * trainer.world_size * trainer.accumulate_grad_batches
