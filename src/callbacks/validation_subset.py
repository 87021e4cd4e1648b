"""A fixed subset of the validation set that can be evaluated repeatedly during a fit."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from start_training.callbacks.evaluation import (
    as_list,
    evaluation_loaders,
    isolated_evaluation,
    transfer_batch,
)
from start_training.ranks import gather
from start_training.tasks.task import Task

NEEDED = "a range test needs validation data to measure the validation loss"


class ValidationSubset:
    """A given number of validation samples, kept on the device.

    The samples are evenly spaced, at ⌊i N / samples⌋ of N samples. Hence they are the same for every seed, number of
    ranks and batch size, and contain all classes even if the set is sorted by class. The loaders are iterated twice.
    Constructing and evaluating a subset are collective operations: every rank has to take part.

    Args:
        samples: The number of samples over all ranks; if the validation set has fewer, all of them are used.
    Raises:
        ValueError: there is no validation data, or the module has no `forward`.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule, samples: int) -> None:
        self._trainer, self._module = trainer, module
        with isolated_evaluation(trainer, module, "validating"):
            loaders = validation_loaders(trainer, module)
            sizes = [_size(batch) for batch in _batches(loaders)]
            rows = self._rows(sizes, samples)
            selected = [
                (batch[0][chosen], batch[1][chosen])
                for untransferred, chosen in zip(_batches(loaders), rows, strict=True)
                if len(chosen)
                for batch in [transfer_batch(trainer, untransferred)]
            ]
        self._batches = _joined(selected, max(sizes, default=1))

    def evaluate(self, task: Task, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> tuple[float, float]:
        """Compute mean loss and score over the samples of all ranks.

        Args:
            task: The task that the outputs of `forward` are for.
            loss: A function of outputs and targets that returns the mean loss; None: the loss of the task.
        """
        loss = task.loss if loss is None else loss
        totals = torch.zeros(2 + task.width, dtype=torch.float64, device=self._module.device)
        with isolated_evaluation(self._trainer, self._module, "validating"):
            for inputs, targets in self._batches:
                outputs = self._module(inputs)
                totals[0] += loss(outputs, targets).double() * len(targets)
                totals[1] += len(targets)
                totals[2:] += task.sums(outputs, targets)
        losses, samples, *sums = gather(totals).sum(0).tolist()
        return losses / samples, task.score(sums, samples)

    def _rows(self, sizes: list[int], samples: int) -> list[Tensor]:
        """Return, for each of this rank's batches with the given sizes, the rows that belong to the subset."""
        counts = gather(torch.tensor(sum(sizes), device=self._module.device)).tolist()
        total, first = sum(counts), sum(counts[: self._trainer.global_rank])
        if not total:
            raise ValueError(NEEDED)
        count = min(samples, total)
        chosen = np.arange(count) * total // count - first
        edges = np.cumsum([0, *sizes])
        spans = [chosen[(chosen >= low) & (chosen < high)] - low for low, high in pairwise(edges)]
        return [torch.from_numpy(span).to(self._module.device) for span in spans]


def validation_loaders(trainer: pl.Trainer, module: pl.LightningModule) -> list[Iterable[Any]]:
    """Return the validation loaders of a run, even if it does not validate.

    Raises:
        ValueError: there is no validation data, or the module has no `forward`.
    """
    loaders = evaluation_loaders(trainer, module, "val")
    if trainer.val_dataloaders is not None:
        loaders = as_list(trainer.val_dataloaders)  # includes loaders passed to `fit`, prepared for the strategy
    if not loaders:
        check_validates(getattr(trainer, "datamodule", None))
        raise ValueError(NEEDED)
    return loaders


def check_validates(datamodule: Any) -> None:
    """Raise ValueError if the setting `validation` of a datamodule of this project is 0."""
    if getattr(datamodule, "validation", None) == 0:
        raise ValueError(f"validation = 0: {NEEDED}; set it above 0")


def _batches(loaders: Iterable[Iterable[Any]]) -> Iterable[Any]:
    return (batch for loader in loaders for batch in loader)


def _size(batch: Any) -> int:
    """Return the number of samples of a batch; raise ValueError if it is not (inputs, targets, …) as tensors."""
    parts = batch[:2] if isinstance(batch, tuple | list) and len(batch) > 1 else [batch]
    if len(parts) < 2 or not all(isinstance(part, Tensor) for part in parts):
        raise ValueError(
            f"val_dataloader: yields batches of type {type(batch).__name__}; must yield (inputs, targets) as tensors, "
            "since a range test validates the outputs of `forward`"
        )
    return len(batch[1])


def _joined(batches: list[tuple[Tensor, Tensor]], size: int) -> list[tuple[Tensor, Tensor]]:
    """Join batches into batches of `size` samples if all inputs have the same shape, else return them unchanged."""
    if len({inputs.shape[1:] for inputs, _ in batches}) != 1:
        return batches
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return list(zip(inputs.split(size), targets.split(size), strict=True))
