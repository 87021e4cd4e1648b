"""Split what a user gives as a batch into the arguments of a net's forward pass and the targets of its loss."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

TARGETS = ("targets", "target", "labels", "label", "y")  # keys of targets in a mapping


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
        """Number of samples, if all tensors have them on their first axis, so that `select` is possible."""
        tensors = [tensor for tensor in tensors_in((self.inputs, self.targets)) if tensor.dim()]
        sizes = {len(tensor) for tensor in tensors}
        return sizes.pop() if len(sizes) == 1 and not any(map(_is_graph, self.arguments)) else None

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
        ValueError: a loader is empty, or targets are given with a loader.
    """
    if not _is_loader(batch):
        return [(batch, targets)]
    if targets is not None:
        raise ValueError("targets: must not be set if batch is a loader, whose batches contain their targets")
    batches = [(one, None) for one in islice(batch, most)]
    if not batches:
        raise ValueError(f"batch = {type(batch).__name__}: has no batch")
    return batches


def forward_batch(net: nn.Module, batch: Any, targets: Any = None, *, other: bool = False) -> ForwardBatch:
    """Split one batch into arguments and targets.

    Args:
        net: The net, whose `forward` tells the arguments.
        batch: What the net takes (a tensor, a NumPy array, a tuple of arguments, a mapping of keyword arguments, a
            dataclass or another object), or a pair of inputs and targets.
        targets: The targets, unless they are in the batch.
        other: Whether a tuple is taken the other way than the arguments of `forward` suggest: as a pair of inputs and
            targets rather than as arguments, or the reverse.

    Raises:
        ValueError: the batch has no tensor, no samples, or values that are not finite.

    Example:
        >>> inputs, targets, *_ = forward_batch(nn.Linear(2, 1), (torch.zeros(3, 2), torch.ones(3))), None
        >>> inputs.shape, inputs.targets.shape
        ('shape (3, 2)', torch.Size([3]))
    """
    batch, targets = _as_tensors(batch), _as_tensors(targets)
    parts = _split(net, batch, targets, other=other)
    given = parts.inputs if not is_lightning(net) else batch
    tensors = tensors_in(given)
    if not tensors:
        raise ValueError(
            f"batch = {type(batch).__name__}: must be a tensor, or a tuple or dict of the arguments of forward with at "
            "least one tensor"
        )
    first = tensors[0]
    if first.dim() == 0 or first.numel() == 0:
        raise ValueError(f"batch = {batch_shape(given)}: must have at least one sample on its first axis")
    if any(not _is_finite(tensor, mask=len(tensors) > 1) for tensor in tensors):
        raise ValueError(f"batch = {batch_shape(given)}: must not contain NaN or infinite values")
    return parts


def is_lightning(net: nn.Module) -> bool:
    """Return whether a net is a LightningModule of whatever package: it trains itself."""
    return all(callable(getattr(net, name, None)) for name in ("training_step", "configure_optimizers"))


def map_tensors(function: Callable[[Tensor], Any], values: Any) -> Any:
    """Apply `function` to every tensor in nested mappings, lists, tuples, dataclasses and graph data objects.

    Mappings are returned as dicts; an object that is none of these is returned as it is, unless it has a method `apply`
    as the data objects of PyTorch Geometric.
    """
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(function, value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        mapped = [map_tensors(function, value) for value in values]
        return type(values)(*mapped) if hasattr(values, "_fields") else type(values)(mapped)
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        names = [entry.name for entry in dataclasses.fields(values) if entry.init]
        return dataclasses.replace(values, **{name: map_tensors(function, getattr(values, name)) for name in names})
    if _is_graph(values):
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
    plain = isinstance(batch, containers) or dataclasses.is_dataclass(batch) or _is_graph(batch)
    return hasattr(batch, "__iter__") and not plain


def _is_graph(values: Any) -> bool:
    """Return whether a value is a data object of PyTorch Geometric, or one that behaves like it."""
    return hasattr(values, "edge_index") and callable(getattr(values, "apply", None))


def _as_tensors(values: Any) -> Any:
    """Convert NumPy arrays and nested lists of numbers to tensors."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(values))
    if isinstance(values, list) and values and _are_numbers(values):
        return torch.tensor(values)
    if isinstance(values, Mapping):
        return {key: _as_tensors(value) for key, value in values.items()}
    if isinstance(values, list | tuple) and not hasattr(values, "_fields"):
        return type(values)(_as_tensors(value) for value in values)
    return values


def _are_numbers(values: Any) -> bool:
    if isinstance(values, list):
        return all(_are_numbers(value) for value in values) and len({_length(value) for value in values}) <= 1
    return isinstance(values, int | float)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else -1


def _split(net: nn.Module, batch: Any, targets: Any, *, other: bool = False) -> ForwardBatch:
    if isinstance(batch, list | tuple) and not hasattr(batch, "_fields"):
        return _split_sequence(net, batch, targets, other=other)
    if isinstance(batch, Mapping):
        return _split_mapping(net, batch, targets)
    return ForwardBatch((batch,), {}, targets, batch if targets is None else (batch, targets))


def _split_sequence(net: nn.Module, batch: list[Any] | tuple[Any, ...], targets: Any, *, other: bool) -> ForwardBatch:
    """Take a sequence as arguments, or its last entry as targets if `forward` requires one argument less."""
    required, most, _ = _signature(net)
    pair = len(batch) == 2 and required < 2 and (most < 2 or _are_classes(*batch))
    more = len(batch) > 2 and len(batch) > most
    if targets is None and ((pair or more) != other):
        arguments = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return _split(net, arguments, batch[-1])._replace(whole=batch)
    return ForwardBatch(tuple(batch), {}, targets, tuple(batch) if targets is None else (batch, targets))


def _are_classes(inputs: Any, second: Any) -> bool:
    """Return whether the second of two entries is classes, rather than an optional second argument such as a mask."""
    if not isinstance(second, Tensor) or second.is_floating_point() or second.dtype == torch.bool:
        return False
    return not (isinstance(inputs, Tensor) and inputs.shape == second.shape and not inputs.is_floating_point())


def _split_mapping(net: nn.Module, batch: Mapping[str, Any], targets: Any) -> ForwardBatch:
    required, _, names = _signature(net)
    unknown = [key for key in batch if names is not None and key not in names]
    keys = [key for key in unknown if key in TARGETS]
    if targets is None and keys:
        targets = batch[keys[0]]
    rest = {key: value for key, value in batch.items() if key not in keys}
    single = required == 1 and any(key not in keys for key in unknown)
    if single and len(rest) == 1:  # one input, under another name than that of forward's argument
        return ForwardBatch((*rest.values(),), {}, targets, batch)
    return ForwardBatch((dict(batch),), {}, targets, batch) if single else ForwardBatch((), rest, targets, batch)


def _signature(net: nn.Module) -> tuple[int, float, set[str] | None]:
    """Return how many positional arguments `forward` requires and takes, and the names it takes; None: any."""
    forward = getattr(net, "_orig_mod", net).forward
    try:
        parameters = [*inspect.signature(forward).parameters.values()]
    except (TypeError, ValueError):  # a compiled function has no signature
        return 1, 1, None
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = sum(one.default is one.empty for one in positional)
    several = any(one.kind == one.VAR_POSITIONAL for one in parameters)
    anything = any(one.kind == one.VAR_KEYWORD for one in parameters)
    return required, float("inf") if several else len(positional), None if anything else {p.name for p in parameters}


def _is_finite(tensor: Tensor, *, mask: bool) -> bool:
    """Return whether a tensor has neither NaN nor infinity; −inf is allowed if it may be an attention mask."""
    finite = tensor.isfinite() | tensor.isneginf() if mask and tensor.is_floating_point() else tensor.isfinite()
    return bool(finite.all())
