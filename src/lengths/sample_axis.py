"""Find the axis of an activation that counts the samples of a batch."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from start_training.lengths.call import Call

FOLDED, FOLDED_TIME_FIRST, WHOLE = "folded", "folded, time first", "whole"


class SampleAxis:
    """Finds the samples in the activations of a net.

    With a batch of B samples, the sample axis is the first one if its size is B, or the second one if its size is B, as
    in recurrent and transformer modules with `batch_first=False`. If the size of the first axis is a multiple of B, as
    in a router of tokens or an attention window, it is split into B samples of several rows each. Any other tensor,
    such as a position embedding, has no samples of its own: all of its values belong to all samples.

    Args:
        override: The axis of all layers, or the axis by name pattern of the layers, as in `fnmatch`.
        time_first: Whether the inputs of the net have time on the first axis and samples on the second one.
        time_first_layers: Names of layers whose outputs do.
        shared: Names of layers that do not depend on the batch.

    Attributes:
        size: The number B of samples in the next activations; None: the first axis counts the samples of all layers.

    Example:
        >>> samples = SampleAxis()
        >>> samples.size = 4
        >>> [samples.find("layer", shape) for shape in [(4, 9), (7, 4, 9), (8, 9), (1, 7, 9)]]
        [0, 1, 'folded', 'whole']
    """

    def __init__(
        self,
        override: int | Mapping[str, int] | None = None,
        *,
        time_first: bool = False,
        time_first_layers: Collection[str] = (),
        shared: Collection[str] = (),
    ) -> None:
        self.override = {"*": override} if isinstance(override, int) else dict(override or {})
        self.time_first, self.time_first_layers, self.shared = time_first, time_first_layers, shared
        self.size: int | None = None
        self._of_batch: int | None = None

    def count(self, batch: Any) -> None:
        """Set the number of samples to that of a batch."""
        shape = next((one for one in shapes_in(batch) if len(one) > 1), None) if self.time_first else None
        self.size = self._of_batch = shape[1] if shape is not None else batch_size(batch)

    def enter(self, inputs: Any) -> None:
        """Set the number of samples to that of the inputs of a net, which may be other samples than the batch."""
        shapes = [*shapes_in(inputs)]
        is_batch = self._of_batch is None or not shapes or any(self._of_batch in shape for shape in shapes)
        self.size = self._of_batch
        if not is_batch:
            second = self.time_first and len(shapes[0]) > 1
            self.size = shapes[0][1] if second else batch_size(inputs)

    def find(self, name: str, shape: Sequence[int]) -> int | str:
        """Return the sample axis of a tensor of at least one axis; `FOLDED` or `WHOLE` if it has none.

        `FOLDED` stands for a first axis that counts rows of samples, and `FOLDED_TIME_FIRST` for one that counts the
        first rows of all samples, then the second rows, ….
        """
        for pattern, axis in self.override.items():
            if fnmatchcase(name, pattern) and -len(shape) <= axis < len(shape):
                return axis % len(shape)
        if name in self.shared:
            return WHOLE
        size = self.size
        if size is None:
            return 1 if name in self.time_first_layers and len(shape) > 2 else 0
        second = len(shape) > 2 and shape[1] == size
        if second and (self.time_first or name in self.time_first_layers):
            return 1
        if shape[0] == size:
            return 0
        several = size > 0 and shape[0] > size and shape[0] % size == 0
        if second and shape[0] > 1 and (not several or self.time_first_layers):
            return 1
        if several:
            return FOLDED_TIME_FIRST if self.time_first else FOLDED
        return WHOLE

    def first(self, name: str, tensor: Tensor) -> tuple[Tensor, bool]:
        """Return a view of an activation with samples on the first axis, and whether it has samples of its own."""
        axis = self.find(name, tensor.shape)
        if axis == 0:
            return tensor, True
        if isinstance(axis, int):
            return tensor.movedim(axis, 0), True
        if axis == WHOLE:
            return tensor.unsqueeze(0), False
        assert self.size is not None
        if axis == FOLDED:
            return tensor.unflatten(0, (self.size, -1)), True
        return tensor.unflatten(0, (-1, self.size)).movedim(1, 0), True


def batch_size(batch: Any, calls: Sequence[Call] = ()) -> int | None:
    """Return the number of samples in a batch, which is a size that its tensors have in common.

    Args:
        batch: Tensors in nested containers.
        calls: The calls in a forward pass. A module with `batch_first=False` decides in favour of the second axis of
            its input, if all tensors of the batch have an axis of this size.

    Returns:
        None if the batch has no tensor, or its tensors have no size in common.

    Example:
        >>> batch_size((torch.zeros(5, 16, 8), torch.zeros(16)))
        16
        >>> batch_size(([torch.zeros(3, 20, 30), torch.zeros(3, 40, 20)],))  # images of different sizes
        2
        >>> batch_size([[torch.zeros(7, 5), torch.zeros(9, 6), torch.zeros(2, 8)], torch.zeros(3)])
        3
    """
    shapes = [*shapes_in(batch)]
    if not set(shapes[0] if shapes else ()).intersection(*shapes[1:]):
        shapes = [*shapes_in(batch, ragged=True)]
    is_square = [len(shape) == 2 and shape[0] == shape[1] for shape in shapes]  # as of a mask
    shapes = [shape for shape, square in zip(shapes, is_square, strict=True) if shape and not square] or shapes
    shapes = [shape for shape in shapes if shape]
    if not shapes:
        return None
    common = set(shapes[0]).intersection(*shapes[1:])
    hint = _time_first_shape(calls)
    if hint is not None and hint[1] in common:
        return hint[1]
    first = [shape[0] for shape in shapes]
    if first[0] in common:
        return first[0]
    return max(common, key=first.count) if common else None


def sample_axis_of(
    batch: Any, calls: Sequence[Call], layers: Collection[str], override: int | Mapping[str, int] | None = None
) -> SampleAxis:
    """Return where the samples are in the layers of a net, given its calls in a forward pass of a batch.

    Args:
        batch: The batch; None if it is not known.
        calls: The calls, traced with `inputs=batch`.
        layers: Names of the layers.
        override: As for `SampleAxis`.
    """
    time_first_layers = {call.name for call in calls if call.module is not None and is_time_first(call.module)}
    hint, size = _time_first_shape(calls), batch_size(batch, calls)
    shape = next((one for one in shapes_in(batch) if len(one) > 1), None)
    time_first = bool(hint and shape and size == hint[1] == shape[1] and (shape[0] != size or shape[:2] == hint[:2]))
    dependent = {call.name for call in calls if call.depends_on_batch}
    shared = set(layers) - dependent if dependent else set()
    axis = SampleAxis(override, time_first=time_first, time_first_layers=time_first_layers, shared=shared)
    axis.size = axis._of_batch = size
    return axis


def is_time_first(module: nn.Module) -> bool:
    """Return whether the outputs of a module have time on the first axis, as its attribute `batch_first` says.

    Example:
        >>> is_time_first(nn.LSTM(2, 2)), is_time_first(nn.TransformerEncoderLayer(2, 1, 2, batch_first=True))
        (True, False)
    """
    flags = [inner.batch_first for inner in module.modules() if isinstance(getattr(inner, "batch_first", None), bool)]
    return bool(flags) and not any(flags)


def _time_first_shape(calls: Sequence[Call]) -> tuple[int, ...] | None:
    """Return the shape of the first input of a recurrent or attention module with `batch_first=False`."""
    for call in calls:
        if getattr(call.module, "batch_first", None) is False and call.shape is not None and len(call.shape) == 3:
            return call.shape
    return None


def shapes_in(values: Any, *, ragged: bool = False, nested: bool = False) -> Iterator[tuple[int, ...]]:
    """Yield the shapes of the tensors in nested containers; (n,) for an inner list of n samples of different shapes.

    Args:
        values: The containers.
        ragged: Whether any list of tensors whose first axes differ in size is a list of samples; else images are.
        nested: Whether the values are in a container.
    """
    if isinstance(values, Tensor):
        yield tuple(values.shape) if not values.is_nested else (values.size(0),)
    elif isinstance(values, torch.nn.utils.rnn.PackedSequence):
        yield (int(values.batch_sizes[0]),)
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from shapes_in(value, ragged=ragged, nested=True)
    elif isinstance(values, list | tuple):
        if nested and _are_samples(values, ragged=ragged):
            yield (len(values),)
        else:
            for value in values:
                yield from shapes_in(value, ragged=ragged, nested=True)


def _are_samples(values: Sequence[Any], *, ragged: bool) -> bool:
    """Return whether a list is that of the samples of a batch, such as images of different sizes or their targets."""
    if len(values) > 0 and all(isinstance(value, Mapping) for value in values):
        return True
    shapes = {tuple(value.shape) for value in values if isinstance(value, Tensor)}
    if len(shapes) < 2 or len({len(shape) for shape in shapes}) > 1 or not all(shapes):
        return False
    first, axes = {shape[0] for shape in shapes}, len(next(iter(shapes)))
    return (ragged and len(first) > 1) or (axes == 3 and first <= {1, 3, 4})  # images of as many channels
