"""A batch as the arguments of a net's forward pass and the targets of its loss, and the tensors in it."""

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


class ForwardBatch(NamedTuple):
    """One batch.

    Attributes:
        arguments: Positional arguments of `forward`.
        named: Keyword arguments of `forward`.
        targets: What the loss compares the outputs with; None: nothing, or it is among the arguments.
        whole: The batch as it was given, for the `training_step` of a LightningModule.
    """

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    targets: Any
    whole: Any

    def map(self, function: Callable[[Tensor], Any]) -> "ForwardBatch":
        """Apply a function to every tensor, to those in dataclasses and graph data objects as well."""
        return ForwardBatch(*(map_tensors(function, value) for value in self))

    @property
    def samples(self) -> int | None:
        """Number of samples, if all tensors have them on their first axis, so that `select` is possible.

        A list may be one of samples, such as images of different sizes, of which `select` would take parts.
        """
        tensors = [tensor for tensor in tensors_in((self.inputs, self.targets, self.whole)) if tensor.dim()]
        sizes = {len(tensor) for tensor in tensors}
        parts = (*self.arguments, *self.named.values(), self.targets)
        whole = any(is_graph(part) or isinstance(part, list) for part in parts)
        whole = whole or any(tensor.layout != torch.strided for tensor in tensors)
        return sizes.pop() if len(sizes) == 1 and not whole else None

    def select(self, indices: Tensor) -> "ForwardBatch":
        """Return a batch of some of the samples."""
        return self.map(lambda tensor: tensor[indices] if tensor.dim() else tensor)

    @property
    def inputs(self) -> Any:
        """The arguments, for a search for tensors in them."""
        return (self.arguments, self.named)

    @property
    def shape(self) -> str:
        """The shapes of all inputs as text for messages, such as `shape (8, 3, 64, 64)`."""
        return batch_shape(self.inputs)


def batches_in(batch: Any, targets: Any = None, *, most: int = 8) -> list[tuple[Any, Any]]:
    """Return the first batches of a loader, or a single batch, each with the targets that were given apart from it.

    Args:
        batch: What the net takes, or an iterable of batches such as a DataLoader.
        targets: The targets, unless they are in the batch.
        most: Greatest number of batches.

    Raises:
        ValueError: a loader is empty, or targets are given with a loader; or batch is a data set or datamodule.
    """
    kind = type(batch).__name__
    if isinstance(batch, Dataset) and not is_graph(batch):
        raise ValueError(f"batch = {kind}: must be a batch or a DataLoader, as DataLoader(data_set, batch_size=64)")
    if callable(getattr(batch, "train_dataloader", None)):
        raise ValueError(f"batch = {kind}: must be a batch or a DataLoader; pass its train_dataloader() after setup")
    if not _is_loader(batch):
        return [(as_tensors(batch), as_tensors(targets))]
    if targets is not None:
        raise ValueError("targets: must not be set if batch is a loader, whose batches contain their targets")
    batches = [(as_tensors(one), None) for one in islice(batch, most)]
    if not batches:
        raise ValueError(f"batch = {kind}: has no batch")
    return batches


def check_batch(net: nn.Module, batch: ForwardBatch) -> None:
    """Check the inputs of a batch.

    Args:
        net: The net; a LightningModule takes the whole batch.
        batch: The batch.

    Raises:
        ValueError: the batch has no tensor, no samples, or values that are not finite.
    """
    given = batch.whole if is_lightning(net) else batch.inputs
    tensors = tensors_in(given)
    if not tensors:
        raise ValueError(
            f"batch = {type(batch.whole).__name__}: must be a tensor, or a tuple or dict of the arguments of forward "
            "with at least one tensor"
        )
    first = tensors[0]
    if first.dim() == 0 or first.numel() == 0:
        raise ValueError(f"batch = {batch_shape(given)}: must have at least one sample on its first axis")
    if any(not _is_finite(tensor, mask=len(tensors) > 1) for tensor in tensors):
        raise ValueError(f"batch = {batch_shape(given)}: must not contain NaN or infinite values")


def is_lightning(net: nn.Module) -> bool:
    """Return whether a net is a LightningModule of whatever package: it trains itself."""
    return all(callable(getattr(net, name, None)) for name in ("training_step", "configure_optimizers"))


def map_tensors(function: Callable[[Tensor], Any], values: Any) -> Any:
    """Apply `function` to every tensor in nested mappings, lists, tuples, dataclasses and graph data objects.

    Mappings are returned as dicts, but a `UserDict`, such as HuggingFace's BatchEncoding, as what it is. An object that
    is none of these is returned as it is, unless it has methods `apply` and `clone` as the data objects of PyTorch
    Geometric.
    """
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, UserDict):
        changed = copy.copy(values)
        changed.data = map_tensors(function, values.data)
        return changed
    if isinstance(values, Mapping):
        return {key: map_tensors(function, value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        mapped = [map_tensors(function, value) for value in values]
        return type(values)(*mapped) if hasattr(values, "_fields") else type(values)(mapped)
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        names = [entry.name for entry in dataclasses.fields(values) if entry.init]
        return dataclasses.replace(values, **{name: map_tensors(function, getattr(values, name)) for name in names})
    if is_graph(values):
        return values.clone().apply(function)
    return values


def tensors_in(values: Any) -> list[Tensor]:
    """Return all tensors in nested mappings, lists, tuples, dataclasses and graph data objects."""
    tensors: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(collect, values)
    return tensors


def batch_shape(batch: Any) -> str:
    """Return the shapes of all tensors of a batch as text for messages, such as `shape (8, 3, 64, 64)`."""
    return f"shape {', '.join(str(tuple(tensor.shape)) for tensor in tensors_in(batch))}"


def _is_loader(batch: Any) -> bool:
    containers = (Tensor, np.ndarray, list, tuple, Mapping, str)
    plain = isinstance(batch, containers) or dataclasses.is_dataclass(batch) or is_graph(batch)
    return hasattr(batch, "__iter__") and not plain


def is_graph(values: Any) -> bool:
    """Return whether a value is a data object of PyTorch Geometric, or one that behaves like it."""
    methods = all(callable(getattr(values, name, None)) for name in ("apply", "clone"))
    return methods and not isinstance(values, Tensor | nn.Module | type)


def as_tensors(values: Any) -> Any:
    """Convert arrays and nested lists of numbers to tensors, and cut tensors off the graph that computed them."""
    if isinstance(values, Tensor):
        return values.detach()
    if isinstance(values, list) and values and _are_numbers(values):
        return torch.tensor(values)
    if hasattr(values, "__array__") and not isinstance(values, np.generic):
        array = np.asarray(values)
        return torch.from_numpy(np.array(array)) if array.dtype.kind in "biuf" else values
    if isinstance(values, UserDict):
        changed = copy.copy(values)
        changed.data = as_tensors(values.data)
        return changed
    if isinstance(values, Mapping):
        return {key: as_tensors(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        converted = [as_tensors(value) for value in values]
        return type(values)(*converted) if hasattr(values, "_fields") else type(values)(converted)
    return values


def _are_numbers(values: Any) -> bool:
    if isinstance(values, list):
        return all(_are_numbers(value) for value in values) and len({_length(value) for value in values}) <= 1
    return isinstance(values, int | float)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else -1


def _is_finite(tensor: Tensor, *, mask: bool) -> bool:
    """Return whether a tensor has neither NaN nor infinity; −inf is allowed if it may be an attention mask."""
    if tensor.layout != torch.strided:
        return True
    finite = tensor.isfinite() | tensor.isneginf() if mask and tensor.is_floating_point() else tensor.isfinite()
    return bool(finite.all())
