"""Evaluate a module in the middle of a fit, which does not notice."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from start_training.ranks import gather
from start_training.streams import isolate_random_streams


def evaluation_loaders(trainer: pl.Trainer, module: pl.LightningModule, part: str) -> list[Iterable[Any]]:
    """The `test` or `val` loaders of a run that is being fitted: the datamodule's, or else the module's; [] for none.

    Raises ValueError for a module without `forward`, whose logits are what is evaluated.
    """
    if not is_overridden("forward", module):
        raise ValueError(f"{type(module).__name__} has no forward to evaluate {part} batches with")
    for source in (getattr(trainer, "datamodule", None), module):
        if source is None or not is_overridden(f"{part}_dataloader", source):
            continue
        if part == "test" and isinstance(source, pl.LightningDataModule):
            source.setup("test")  # fitting alone does not ask for its test set
        if loaders := as_list(getattr(source, f"{part}_dataloader")()):
            return loaders
    return []


def test_loaders(trainer: pl.Trainer, module: pl.LightningModule, needed: str) -> list[Iterable[Any]]:
    """The test loaders of a run that is being fitted.

    Raises:
        ValueError: there is none; its message is `needed`.
    """
    with isolate_random_streams():
        loaders = evaluation_loaders(trainer, module, "test")
    if not loaders:
        raise ValueError(needed)
    return loaders


def check_test_set(datamodule: Any, needed: str) -> None:
    """Raises ValueError, with the message `needed`, for a datamodule of this project whose test set is empty."""
    if not datamodule.samples("test").size:
        raise ValueError(needed)


def test_means(
    trainer: pl.Trainer,
    module: pl.LightningModule,
    loaders: Iterable[Iterable[Any]],
    *sums: Callable[[Tensor, Tensor], Tensor],
) -> list[float]:
    """Means over the test samples of all ranks, which all enter, of what `sums` of logits and targets add up.

    Raises ValueError where the loaders hold no sample.
    """
    totals = torch.zeros(1 + len(sums), dtype=torch.float64, device=module.device)
    with undisturbed(trainer, module):
        for batch in (batch for loader in loaders for batch in loader):
            inputs, targets, *_ = transferred(trainer, batch)
            logits = module(inputs)
            totals += torch.stack([totals.new_tensor(len(targets)), *(add(logits, targets) for add in sums)])
    samples, *of_all = gather(totals).sum(0).tolist()
    if not samples:
        raise ValueError("test_dataloader: gave no samples, so that there is no test set to evaluate")
    return [each / samples for each in of_all]


def as_list(loaders: Any) -> list[Iterable[Any]]:
    """One loader or several, as a list."""
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def transferred(trainer: pl.Trainer, batch: Any) -> Any:
    """A batch on the trainer's device and in its precision, through the hooks that a user has for it."""
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch)


def correct(logits: Tensor, targets: Tensor) -> Tensor:
    """How many targets have the largest logit, which has to be finite: of NaNs, argmax names the first."""
    largest, classes = logits.max(1)
    return ((classes == targets) & largest.isfinite()).sum()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, a module evaluates; afterwards each of its parts is in its own mode again, as a user may keep one so."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


@contextmanager
def undisturbed(trainer: pl.Trainer, module: pl.LightningModule, stage: str = "testing") -> Iterator[None]:
    """Evaluate a module within a fit as in a stage of its own, and leave what training goes on with as it was.

    stage: `testing` or `validating`.
    """
    before = trainer.state.stage
    setattr(trainer, stage, True)  # what a user's batch transfer asks for, to augment training batches only
    # Eager: to compile a net for looking takes seconds, a look milliseconds. Not in inference mode: what a module
    # keeps of its first call could not be used in training.
    eager = torch.compiler.set_stance("force_eager")
    try:
        precision = trainer.precision_plugin.test_step_context()
        with evaluating(module), eager, torch.no_grad(), isolate_random_streams(), precision:
            yield
    finally:
        trainer.state.stage = before
