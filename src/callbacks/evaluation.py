"""Evaluate a module during `Trainer.fit` without affecting the training."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn

from start_training.ranks import gather
from start_training.streams import isolate_random_streams
from start_training.tasks.classification import Classification
from start_training.tasks.task import Task


def evaluation_loaders(trainer: pl.Trainer, module: pl.LightningModule, part: str) -> list[Iterable[Any]]:
    """Return the test or validation loaders during a fit: the datamodule's, or else the module's, or an empty list.

    Args:
        part: `test` or `val`.
    Raises:
        ValueError: the module has no `forward`, which evaluation needs to compute logits.
    """
    if not is_overridden("forward", module):
        raise ValueError(
            f"{type(module).__name__}: has no forward method; add one that returns logits for {part} inputs"
        )
    return own_loaders(trainer, module, part)


def own_loaders(trainer: pl.Trainer, module: pl.LightningModule, part: str) -> list[Iterable[Any]]:
    """Return the test or validation loaders during a fit of any module, as `evaluation_loaders`."""
    for source in (getattr(trainer, "datamodule", None), module):
        if source is None or not is_overridden(f"{part}_dataloader", source):
            continue
        if part == "test" and isinstance(source, pl.LightningDataModule):
            source.setup("test")  # `fit` sets up only the training and validation data
        if loaders := as_list(getattr(source, f"{part}_dataloader")()):
            return loaders
    return []


def test_loaders(trainer: pl.Trainer, module: pl.LightningModule, message: str) -> list[Iterable[Any]]:
    """Return the test loaders during a fit.

    Raises:
        ValueError: there are no test loaders; with the given message.
    """
    with isolate_random_streams():
        loaders = evaluation_loaders(trainer, module, "test")
    if not loaders:
        raise ValueError(message)
    return loaders


def check_test_set(datamodule: Any, message: str) -> None:
    """Raise ValueError with the given message if the test set of a `TensorDataModule` is empty."""
    if not datamodule.samples("test").size:
        raise ValueError(message)


def task_of(module: nn.Module) -> Task:
    """Return the task that a module states as its attribute `task`; without one it is taken for a classifier."""
    task = getattr(module, "task", None)
    return task if isinstance(task, Task) else Classification()


def test_means(
    trainer: pl.Trainer, module: pl.LightningModule, loaders: Iterable[Iterable[Any]], task: Task, *, loss: bool = True
) -> tuple[float, float]:
    """Compute loss and score over the test samples of all ranks. A collective operation: every rank has to call it.

    Args:
        task: The task, whose loss and score of outputs (samples, outputs) and targets are computed.
        loss: Whether to compute the loss.
    Returns:
        The mean loss per sample (NaN if it is not computed), and the score.
    Raises:
        ValueError: the loaders have no samples.
    """
    totals = torch.zeros(2 + task.width, dtype=torch.float64, device=module.device)  # samples, loss, sums of the score
    with isolated_evaluation(trainer, module):
        for batch in (batch for loader in loaders for batch in loader):
            inputs, targets, *_ = transfer_batch(trainer, batch)
            outputs = module(inputs)
            totals[0] += len(targets)
            totals[1] += task.summed_loss(outputs, targets) if loss else math.nan
            totals[2:] += task.sums(outputs, targets)
    samples, total_loss, *sums = gather(totals).sum(0).tolist()
    if not samples:
        raise ValueError("test_dataloader: yielded no samples; callbacks that evaluate the test set need at least one")
    return total_loss / samples, task.score(sums, samples)


def as_list(loaders: Any) -> list[Iterable[Any]]:
    """Return one loader, or a list or tuple of loaders, as a list."""
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def transfer_batch(trainer: pl.Trainer, batch: Any) -> Any:
    """Move a batch to the trainer's device and precision, calling the module's batch transfer hooks."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode within the block, and restore the mode of each of its submodules afterwards."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


def switching(optimizers: Iterable[Any]) -> list[Any]:
    """Return the optimizers that have methods `train` and `eval`, since they evaluate other weights than they train."""
    optimizers = [getattr(optimizer, "optimizer", optimizer) for optimizer in optimizers]  # without a wrapper
    return [one for one in optimizers if all(callable(getattr(one, name, None)) for name in ("train", "eval"))]


@contextmanager
def evaluated_weights(optimizers: Iterable[Any]) -> Iterator[None]:
    """Give parameters the weights to evaluate within the block, if an optimizer has others, such as averages.

    Afterwards the weights of training are restored to the bit, which `train` alone would do up to rounding.
    """
    switched = switching(optimizers)
    parameters = [parameter for one in switched for group in one.param_groups for parameter in group["params"]]
    before = [parameter.detach().clone() for parameter in parameters]
    for optimizer in switched:
        optimizer.eval()
    try:
        yield
    finally:
        for optimizer in switched:
            optimizer.train()
        for parameter, value in zip(parameters, before, strict=True):
            parameter.detach().copy_(value)


@contextmanager
def isolated_evaluation(trainer: pl.Trainer, module: pl.LightningModule, stage: str = "testing") -> Iterator[None]:
    """Set up evaluation of a module during a fit, and restore modes, trainer stage and random streams afterwards.

    Args:
        stage: The trainer's stage within the block, `testing` or `validating`.
    """
    before = trainer.state.stage
    setattr(trainer, stage, True)  # batch transfer hooks read it to augment training batches only
    # Eager, since compiling the net for evaluation takes longer than evaluating it. `no_grad` rather than inference
    # mode, since training cannot use inference tensors that a module creates and stores in its first call.
    eager = torch.compiler.set_stance("force_eager")
    try:
        precision = trainer.precision_plugin.test_step_context()
        averages = evaluated_weights(trainer.optimizers)
        with averages, eval_mode(module), eager, torch.no_grad(), isolate_random_streams(), precision:
            yield
    finally:
        trainer.state.stage = before
