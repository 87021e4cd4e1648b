"""A fixed part of the validation set, which can be evaluated repeatedly within a fit."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.callbacks.evaluation import as_list, correct, evaluation_loaders, transferred, undisturbed
from start_training.ranks import gather

NEEDED = "a range test needs validation data, whose loss says which rates are usable"


class ValidationSubset:
    """A number of samples of the validation set, on the device, or all of them if there are fewer.

    They are evenly spaced: of N samples, those at ⌊i N / samples⌋. Hence they are the same for every seed, number of
    ranks and batch size, and have all classes even if the set is sorted by class. The loaders are iterated twice.
    All ranks enter.

    Raises:
        ValueError: there is no validation data, or the module has no `forward`.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule, samples: int) -> None:
        self._trainer, self._module = trainer, module
        with undisturbed(trainer, module, "validating"):
            loaders = validation_loaders(trainer, module)
            sizes = [len(batch[1]) for batch in _batches(loaders)]
            rows = self._rows(sizes, samples)
            taken = [
                (batch[0][chosen], batch[1][chosen])
                for untransferred, chosen in zip(_batches(loaders), rows, strict=True)
                if len(chosen)
                for batch in [transferred(trainer, untransferred)]
            ]
        self._batches = _joined(taken, max(sizes, default=1))

    def evaluate(self, loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, float]:
        """Mean loss and accuracy over the samples of all ranks, which all enter.

        Args:
            loss: Of `forward`'s logits and the targets, a mean.
        """
        sums = torch.zeros(3, dtype=torch.float64, device=self._module.device)  # losses, correct, samples
        with undisturbed(self._trainer, self._module, "validating"):
            for inputs, targets in self._batches:
                logits = self._module(inputs)
                sums[0] += loss(logits, targets).double() * len(targets)
                sums[1] += correct(logits, targets)
                sums[2] += len(targets)
        losses, right, samples = gather(sums).sum(0).tolist()
        return losses / samples, right / samples

    def _rows(self, sizes: list[int], samples: int) -> list[Tensor]:
        """The rows of each of this rank's batches, of given sizes, that belong to the subset."""
        mine = torch.tensor(sum(sizes), device=self._module.device)
        counts = gather(mine).tolist()
        total, first = sum(counts), sum(counts[: self._trainer.global_rank])
        if not total:
            raise ValueError(NEEDED)
        count = min(samples, total)
        chosen = np.arange(count) * total // count - first
        edges = np.cumsum([0, *sizes])
        spans = [chosen[(chosen >= low) & (chosen < high)] - low for low, high in pairwise(edges)]
        return [torch.from_numpy(span).to(self._module.device) for span in spans]


def validation_loaders(trainer: pl.Trainer, module: pl.LightningModule) -> list[Iterable[Any]]:
    """The loaders that the run validates with, or would. Raises ValueError as `ValidationSubset`."""
    loaders = evaluation_loaders(trainer, module, "val")
    if trainer.val_dataloaders is not None:
        loaders = as_list(trainer.val_dataloaders)  # also those given to `fit`, as the strategy needs them
    if not loaders:
        check_validates(getattr(trainer, "datamodule", None))
        raise ValueError(NEEDED)
    return loaders


def check_validates(datamodule: Any) -> None:
    """Raises ValueError, naming the setting, for a datamodule of this project without validation data."""
    if getattr(datamodule, "validation", None) == 0:
        raise ValueError(f"validation = 0: {NEEDED}")


def _batches(loaders: Iterable[Iterable[Any]]) -> Iterable[Any]:
    return (batch for loader in loaders for batch in loader)


def _joined(batches: list[tuple[Tensor, Tensor]], size: int) -> list[tuple[Tensor, Tensor]]:
    """The samples in batches of `size`, if their inputs have one shape: the batches of a subset are small."""
    if len({inputs.shape[1:] for inputs, _ in batches}) != 1:
        return batches
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return list(zip(inputs.split(size), targets.split(size), strict=True))
