"""A fixed subset of the validation set that can be evaluated repeatedly during a fit."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from start_training.callbacks.evaluation import as_list, isolated_evaluation, own_loaders, transfer_batch
from start_training.models.own_loss import OwnLoss, number_of_samples
from start_training.ranks import gather
from start_training.tasks.classification import are_logits
from start_training.tasks.task import Task

NEEDED = "a range test needs validation data to measure the validation loss"
ONCE = "val_dataloader: yields other batches when it is iterated again; a range test needs the same ones each time"
Loss = Callable[[Tensor, Tensor], Tensor]


class Validation(Protocol):
    """What a range test needs to validate.

    Attributes:
        samples: Number of samples over all ranks.
    """

    samples: int

    def chance_loss(self, task: Task, loss: Loss | None) -> float | None:
        """Return the loss of a net that has learned nothing; None if it is not known."""

    def evaluate(self, task: Task, loss: Loss | None = None) -> tuple[float, float]:
        """Compute mean loss and score over the samples of all ranks; NaN for a score that the loss does not have."""


def validation_of(trainer: pl.Trainer, module: pl.LightningModule, samples: int, loss: Loss | None) -> Validation:
    """Return the validation of a module: by `forward` if its task is known, else by its own `validation_step`.

    The task is known if the module states it, a loss is given, or `forward` returns logits for class numbers.
    """
    if isinstance(getattr(module, "task", None), Task) or loss is not None or _classifies(trainer, module):
        return ValidationSubset(trainer, module, samples)
    return OwnValidation(trainer, module, samples)


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
            sizes = [_size(batch) for _, _, batch in _batches(loaders)]
            rows = self._rows(sizes, samples)
            selected = [
                (batch[0][chosen], batch[1][chosen])
                for (_, _, untransferred), chosen in zip(_again(loaders, len(sizes)), rows, strict=True)
                if len(chosen)
                for batch in [transfer_batch(trainer, untransferred)]
            ]
        self._batches = _joined(selected, max(sizes, default=1))

    def evaluate(self, task: Task, loss: Loss | None = None) -> tuple[float, float]:
        """Compute mean loss and score over the samples of all ranks; the score is NaN if the outputs have none.

        Args:
            task: The task that the outputs of `forward` are for.
            loss: A function of outputs and targets that returns the mean loss; None: the loss of the task.
        """
        scored, loss = loss is None, task.loss if loss is None else loss
        totals = torch.zeros(2 + task.width, dtype=torch.float64, device=self._module.device)
        with isolated_evaluation(self._trainer, self._module, "validating"):
            for inputs, targets in self._batches:
                outputs = self._module(inputs)
                totals[0] += loss(outputs, targets).double() * len(targets)
                totals[1] += len(targets)
                totals[2:] += task.sums(outputs, targets) if scored or are_logits(outputs, targets) else math.nan
        losses, samples, *sums = gather(totals).sum(0).tolist()
        return losses / samples, task.score(sums, samples)

    def chance_loss(self, task: Task, loss: Loss | None) -> float | None:
        """Return the loss of a net that has learned nothing; None if it is not known."""
        targets = torch.cat([targets for _, targets in self._batches]) if self._batches and loss is None else None
        chance = None if targets is None else task.chance_loss_of(targets)
        known = gather(torch.tensor(math.nan if chance is None else chance, device=self._module.device))
        mean = float(known[known.isfinite()].double().mean())
        return mean if math.isfinite(mean) else None

    def _rows(self, sizes: list[int], samples: int) -> list[Tensor]:
        """Return, for each of this rank's batches with the given sizes, the rows that belong to the subset."""
        counts = gather(torch.tensor(sum(sizes), device=self._module.device)).tolist()
        total, first = sum(counts), sum(counts[: self._trainer.global_rank])
        if not total:
            raise ValueError(NEEDED)
        count = self.samples = min(samples, total)
        chosen = np.arange(count) * total // count - first
        edges = np.cumsum([0, *sizes])
        spans = [chosen[(chosen >= low) & (chosen < high)] - low for low, high in pairwise(edges)]
        return [torch.from_numpy(span).to(self._module.device) for span in spans]


class OwnValidation:
    """Whole validation batches, evenly spaced, with at least the given number of samples, kept on the device.

    The module computes the loss itself, see `OwnLoss`, so that batches and outputs may be of any kind. There is no
    score.

    Args:
        samples: Least number of samples of each rank; if it has fewer, all of them are used.
    Raises:
        ValueError: there is no validation data, or it changes from one iteration to the next.
    """

    def __init__(self, trainer: pl.Trainer, module: pl.LightningModule, samples: int) -> None:
        self._trainer, self._module, self._loss = trainer, module, OwnLoss(module)
        with isolated_evaluation(trainer, module, "validating"):
            loaders = validation_loaders(trainer, module)
            sizes = [number_of_samples(batch) for _, _, batch in _batches(loaders)]
            count = min(len(sizes), -(-samples * len(sizes) // max(1, sum(sizes))))
            chosen = {number * len(sizes) // count for number in range(count)}
            self._batches = [
                (sizes[number], transfer_batch(trainer, batch), index, loader)
                for number, (loader, index, batch) in enumerate(_again(loaders, len(sizes)))
                if number in chosen
            ]
        held = sum(size for size, *_ in self._batches)
        self.samples = int(gather(torch.tensor(held, device=module.device)).sum())
        if not self.samples:
            raise ValueError(NEEDED)

    def chance_loss(self, task: Task, loss: Loss | None) -> float | None:
        """Return None, since it is not known."""

    def evaluate(self, task: Task, loss: Loss | None = None) -> tuple[float, float]:
        """Compute the mean loss over the samples of all ranks, and NaN; task and loss are not used."""
        total = torch.zeros((), dtype=torch.float64, device=self._module.device)
        with isolated_evaluation(self._trainer, self._module, "validating"):
            for size, batch, index, loader in self._batches:
                total += size * self._loss(batch, index, loader).to(total)
        return float(gather(total).sum()) / self.samples, math.nan


def validation_loaders(trainer: pl.Trainer, module: pl.LightningModule) -> list[Iterable[Any]]:
    """Return the validation loaders of a run, even if it does not validate.

    Raises:
        ValueError: there is no validation data.
    """
    loaders = own_loaders(trainer, module, "val")
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


def _classifies(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    """Return whether `forward` returns logits for the class numbers of the first validation batch of all ranks."""
    logits = False
    with isolated_evaluation(trainer, module, "validating"):
        batch: Any = next((batch for _, _, batch in _batches(validation_loaders(trainer, module))), None)
        if is_overridden("forward", module) and _is_pair(batch):
            inputs, targets = transfer_batch(trainer, batch)[:2]
            try:
                logits = are_logits(module(inputs), targets)
            except Exception:  # its forward takes something else, or returns a loss; the module knows
                logits = False
    return bool(gather(torch.tensor(logits or batch is None, device=module.device)).all())


def _batches(loaders: Iterable[Iterable[Any]]) -> Iterator[tuple[int, int, Any]]:
    """Yield (number of the loader, number of the batch in it, batch)."""
    return ((number, index, batch) for number, loader in enumerate(loaders) for index, batch in enumerate(loader))


def _again(loaders: Iterable[Iterable[Any]], count: int) -> Iterator[tuple[int, int, Any]]:
    """Yield as `_batches`; raise ValueError unless there are exactly `count` batches."""
    number = -1
    for number, item in enumerate(_batches(loaders)):
        if number < count:
            yield item
    if number + 1 != count:
        raise ValueError(ONCE)


def _is_pair(batch: Any) -> bool:
    parts = batch[:2] if isinstance(batch, tuple | list) and len(batch) > 1 else [batch]
    return len(parts) == 2 and all(isinstance(part, Tensor) for part in parts)


def _size(batch: Any) -> int:
    """Return the number of samples of a batch; raise ValueError if it is not (inputs, targets, …) as tensors."""
    if not _is_pair(batch):
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
