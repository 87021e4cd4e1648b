"""The loss of any LightningModule on a validation batch, by its own validation_step or training_step."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

TOTALS = ("val_loss", "val/loss", "valid_loss", "valid/loss", "validation_loss", "validation/loss", "loss")


class OwnLoss:
    """Computes the loss of a module on a batch as the module itself does, whatever its batches and outputs are.

    It is the loss that `validation_step` returns, as a tensor or under the key `loss`, or else the one it logs: the
    only logged name with `loss` in it, or one of `TOTALS` if there are several. If it does neither, the loss is that
    of `training_step`. The choice is made at the first batch.

    Args:
        module: The module. To be called in evaluation mode, without gradients.
    """

    def __init__(self, module: pl.LightningModule) -> None:
        self._module = module
        self._step = "validation_step"

    def __call__(self, batch: Any, index: int, loader: int = 0) -> Tensor:
        """Compute the loss.

        Args:
            batch: The batch, on the device of the module.
            index: Number of the batch in its loader.
            loader: Number of the loader.

        Returns:
            A number.

        Raises:
            ValueError: neither step gives a loss.
        """
        if self._step == "validation_step" and is_overridden("validation_step", self._module):
            loss = _loss_in(*self._call("validation_step", batch, index, loader))
            if loss is not None:
                return loss
        self._step = "training_step"
        try:
            loss = _loss_in(self._call("training_step", batch, index, loader)[0], {})
        except Exception as error:
            raise ValueError(f"{self._needed()}; training_step raised {type(error).__name__}: {error}") from error
        if loss is None:
            raise ValueError(self._needed())
        return loss

    def _call(self, step: str, batch: Any, index: int, loader: int) -> tuple[Any, dict[str, Any]]:
        method = getattr(self._module, step)
        given = {"batch_idx": index, "dataloader_idx": loader}
        names = list(inspect.signature(method).parameters)[1:]
        positional = [index, loader][: len(names)] if not {*names} & {*given} else []
        named = {name: value for name, value in given.items() if name in names}
        with _captured(self._module) as logged:
            return method(batch, *positional, **named), logged

    def _needed(self) -> str:
        return (
            f"{type(self._module).__name__}.validation_step: gives no loss to follow; must return the loss, or log it "
            "as val_loss"
        )


def number_of_samples(batch: Any) -> int:
    """Return the length of the first tensor with at least one axis in nested lists and mappings; 1 if there is none.

    Example:
        >>> number_of_samples({"scale": torch.tensor(2.0), "inputs": [torch.zeros(5, 3)]})
        5
    """
    return next((len(tensor) for tensor in _tensors(batch) if tensor.ndim), 1)


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from _tensors(part)
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        for part in batch:
            yield from _tensors(part)


@contextmanager
def _captured(module: pl.LightningModule) -> Iterator[dict[str, Any]]:
    """Collect what the module logs within the block, instead of logging it."""
    logged: dict[str, Any] = {}
    attributes, missing = vars(module), object()
    before = attributes.get("log", missing)
    attributes["log"] = lambda name, value, *_, **__: logged.update({name: value})
    try:
        yield logged
    finally:
        attributes.pop("log")
        if before is not missing:
            attributes["log"] = before


def _loss_in(output: Any, logged: Mapping[str, Any]) -> Tensor | None:
    """Return the loss among the output of a step and what it has logged; None if there is none."""
    given = output.get("loss") if isinstance(output, Mapping) else output
    names = [name for name in logged if "loss" in name.lower()]
    names = names if len(names) == 1 else [name for name in TOTALS if name in names]
    for value in (given, *(logged[name] for name in names[:1])):
        if isinstance(value, Tensor | float | int) and not isinstance(value, bool):
            loss = torch.as_tensor(value)
            if loss.numel() == 1:
                return loss.detach().reshape(())
    return None
