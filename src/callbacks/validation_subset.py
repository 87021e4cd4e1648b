"""A fixed part of the validation set, to be looked at again and again in the middle of a fit."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.callbacks.evaluation import as_list, correct, evaluation_loaders, transferred, undisturbed
from start_training.ranks import gather

NEEDED = "a range test needs validation data, whose loss says which rates are usable"


class Validation(NamedTuple):
    """Mean loss and accuracy over samples."""

    loss: float
    accuracy: float


class ValidationSubset:
    """`samples` of the whole validation set, evenly spaced, on the device; all of it where it has no more.

    Of N samples in their order, the ranks' shares one after the other, those at ⌊i N / samples⌋: the same for every
    seed, number of ranks and batch size, and of every class also where the set is sorted by class. Goes through the
    loaders twice. All ranks enter. Raises ValueError where there is no validation data, or no `forward`.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule, samples: int) -> None:
        self._trainer, self._module = trainer, module
        with undisturbed(trainer, module, "validating"):
            loaders = validation_loaders(trainer, module)
            sizes = [len(batch[1]) for batch in _batches(loaders)]
            rows = self._rows(sizes, samples)
            taken = [
                _take(transferred(trainer, batch), chosen)
                for batch, chosen in zip(_batches(loaders), rows, strict=True)
                if len(chosen)
            ]
        self._batches = _joined(taken, max(sizes, default=1))

    def evaluate(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Validation:
        """Of `forward`'s logits and the targets, over all ranks; all of them enter. Logits not finite are wrong."""
        sums = torch.zeros(3, dtype=torch.float64, device=self._module.device)  # losses, correct, samples
        with undisturbed(self._trainer, self._module, "validating"):
            for inputs, targets in self._batches:
                logits = self._module(inputs)
                sums[0] += loss(logits, targets).double() * len(targets)
                sums[1] += correct(logits, targets)
                sums[2] += len(targets)
        losses, right, samples = gather(sums).sum(0).tolist()
        return Validation(losses / samples, right / samples)

    def _rows(self, sizes: list[int], samples: int) -> list[Tensor]:
        """Which rows of each of this rank's batches, of so many samples, belong to the subset."""
        mine = torch.tensor(sum(sizes), device=self._module.device)
        counts = gather(mine).tolist()
        total, first = sum(counts), sum(counts[: self._trainer.global_rank])
        if not total:
            raise ValueError(NEEDED)
        wanted = min(samples, total)
        chosen = np.arange(wanted) * total // wanted - first
        edges = np.cumsum([0, *sizes])
        spans = [chosen[(chosen >= low) & (chosen < high)] - low for low, high in pairwise(edges)]
        return [torch.from_numpy(span).to(self._module.device) for span in spans]


def validation_loaders(trainer: pl.Trainer, module: pl.LightningModule) -> list[Iterable[Any]]:
    """Those that the run validates with, or would. Raises ValueError where it has none, or no `forward`."""
    loaders = evaluation_loaders(trainer, module, "val")
    if trainer.val_dataloaders is not None:
        loaders = as_list(trainer.val_dataloaders)  # also those given to `fit`, as the strategy needs them
    if not loaders:
        check_validates(getattr(trainer, "datamodule", None))
        raise ValueError(NEEDED)
    return loaders


def check_validates(datamodule: Any) -> None:
    """Raises ValueError, by the setting, for data of this project that keep none for validation."""
    if getattr(datamodule, "validation", None) == 0:
        raise ValueError(f"validation = 0: {NEEDED}")


def _batches(loaders: Iterable[Iterable[Any]]) -> Iterable[Any]:
    return (batch for loader in loaders for batch in loader)


def _take(batch: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
    inputs, targets, *_ = batch
    return inputs[rows], targets[rows]


def _joined(batches: list[tuple[Tensor, Tensor]], size: int) -> list[tuple[Tensor, Tensor]]:
    """The same samples in batches of `size`, where their inputs are of one shape: what is left of many is little."""
    if len({inputs.shape[1:] for inputs, _ in batches}) != 1:
        return batches
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return list(zip(inputs.split(size), targets.split(size), strict=True))
