"""The ways in which what a user gives as a batch may be meant: arguments of a net's forward pass, or with targets."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.diagnosis.trials.forward_batch import ForwardBatch, is_graph, tensors_in

TARGETS = ("targets", "target", "labels", "label", "y")  # keys of targets in a mapping, and names of arguments
# Parts of the names of arguments that are neither inputs nor targets, although they may have the inputs' shape.
BESIDE = (
    "mask",
    "position",
    "type",
    "segment",
    "length",
    "index",
    "time",
    "step",
    "decoder",
    "tgt",
    "state",
    "hidden",
    "cond",
    "context",
)


class Signature(NamedTuple):
    """The arguments of a forward pass.

    Attributes:
        required: How many positional ones have to be given.
        most: How many positional ones may be given.
        positional: Their names.
        named: The names of all arguments; None: any.
        named_only: Names of those that have to be given by name.
    """

    required: int
    most: float
    positional: tuple[str, ...]
    named: frozenset[str] | None
    named_only: tuple[str, ...]

    @classmethod
    def of(cls, net: nn.Module) -> "Signature":
        """Return the signature of a net's `forward`; one argument if it cannot be told."""
        forward = getattr(net, "_orig_mod", net).forward
        try:
            parameters = [*inspect.signature(forward).parameters.values()]
        except (TypeError, ValueError):
            return cls(1, 1, (), None, ())
        positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        several = any(one.kind == one.VAR_POSITIONAL for one in parameters)
        anything = any(one.kind == one.VAR_KEYWORD for one in parameters)
        return cls(
            required=sum(one.default is one.empty for one in positional),
            most=float("inf") if several else len(positional),
            positional=tuple(one.name for one in positional),
            named=None if anything else frozenset(one.name for one in parameters),
            named_only=tuple(
                one.name for one in parameters if one.kind == one.KEYWORD_ONLY and one.default is one.empty
            ),
        )


def forms(net: nn.Module, batch: Any, targets: Any = None) -> tuple[list[ForwardBatch], list[ForwardBatch]]:
    """Return the ways in which a batch may be meant, the likeliest first, and others for when none of these works.

    Args:
        net: The net, whose `forward` tells the arguments.
        batch: What the net takes, or a pair of inputs and targets.
        targets: The targets, unless they are in the batch.

    Example:
        >>> import torch
        >>> [first, *_], others = forms(nn.Linear(2, 1), (torch.zeros(3, 2), torch.ones(3)))
        >>> first.shape, first.targets.shape
        ('shape (3, 2)', torch.Size([3]))
    """
    whole = batch if targets is None else (batch, targets)
    likely, others = list[ForwardBatch](), list[ForwardBatch]()
    for one, is_likely in _forms(Signature.of(net), batch, targets):
        if not any(_is_same(one, known) for known in (*likely, *others)):
            (likely if is_likely else others).append(one._replace(whole=whole))
    return likely, others


_Forms = Iterator[tuple[ForwardBatch, bool]]


def _forms(signature: Signature, batch: Any, targets: Any) -> _Forms:
    if isinstance(batch, Mapping):
        yield from _of_mapping(signature, batch, targets)
    elif isinstance(batch, list | tuple) and not _has_names(batch):
        yield from _of_sequence(signature, batch, targets)
    else:
        fields = _fields(batch)
        own = next((fields[name] for name in TARGETS if isinstance(fields.get(name), Tensor)), None)
        yield ForwardBatch((batch,), {}, own if targets is None else targets, batch), True
        if len(fields) > 1:
            yield from ((one, False) for one, _ in _of_mapping(signature, fields, targets))
        if signature.named_only and isinstance(batch, Tensor):
            yield ForwardBatch((), {signature.named_only[0]: batch}, targets, batch), False


def _of_sequence(signature: Signature, batch: list[Any] | tuple[Any, ...], targets: Any) -> _Forms:
    """Take a sequence as arguments, as inputs and targets, and as one argument."""
    named = dict(zip(signature.positional, batch, strict=False))
    own = next((named[name] for name in TARGETS if name in named), None)
    arguments = ForwardBatch(tuple(batch), {}, own if targets is None else targets, batch)
    pairs, pair_first = list[tuple[ForwardBatch, bool]](), len(batch) > 2 and len(batch) > signature.most
    if targets is None and len(batch) > 1:
        pairs += _forms(signature, batch[0] if len(batch) == 2 else tuple(batch[:-1]), batch[-1])
    if len(batch) == 2:
        name = signature.positional[1] if len(signature.positional) > 1 else ""
        pair_first = signature.required < 2 and (signature.most < 2 or (name not in TARGETS and _are_classes(batch[1])))
        if _is_beside(batch[0], batch[1], name) or signature.required > 1:
            pairs, pair_first = [(one, False) for one, _ in pairs], False
    single = ForwardBatch((batch,), {}, targets, batch)
    if _alike(batch) and len(batch) > 2 and signature.most < 2:
        yield single, True  # a list of samples, such as images of different sizes
    yield from (*pairs, (arguments, True)) if pair_first else ((arguments, True), *pairs)
    yield single, True


def _of_mapping(signature: Signature, batch: Mapping[str, Any], targets: Any) -> _Forms:
    """Take a mapping as arguments by name, as one argument, and its values as arguments in their order."""
    names = signature.named
    unknown = [key for key in batch if names is not None and key not in names]
    keys = [key for key in batch if key in TARGETS]
    if targets is None and keys:
        targets = batch[keys[0]]
    rest = {key: value for key, value in batch.items() if key not in keys or key not in unknown}
    known = {key: value for key, value in rest.items() if key not in unknown}
    values = [value for key, value in batch.items() if key not in keys and tensors_in(value)]
    if all(key in keys for key in unknown):
        yield ForwardBatch((), rest, targets, batch), True
    if unknown and len(values) == 1 and signature.required == 1:  # one input, under another name than forward's
        yield ForwardBatch((values[0],), {}, targets, batch), True
    if unknown or signature.required == 1:
        yield ForwardBatch((batch,), {}, targets, batch), True
    if unknown and known:
        yield ForwardBatch((), known, targets, batch), False
    if unknown and values:
        yield from ((one, False) for one, _ in _of_sequence(signature, values, targets))


def _are_classes(values: Any) -> bool:
    return isinstance(values, Tensor) and not values.is_floating_point() and values.dtype != torch.bool


def _is_beside(inputs: Any, second: Any, name: str) -> bool:
    """Return whether the second of two entries is an argument such as a mask, by its name, shape and values."""
    if not any(part in name for part in BESIDE) or not isinstance(second, Tensor) or not isinstance(inputs, Tensor):
        return False
    alike = second.dim() > 1 and (second.shape == inputs.shape[: second.dim()] or second.shape[-1] == second.shape[-2])
    if "mask" not in name or second.dtype == torch.bool:
        return alike or second.dtype == torch.bool
    return alike and (second.is_floating_point() or {0, 1}.issuperset(second.unique().tolist()))


def _alike(batch: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether a list is one of samples of different sizes."""
    tensors = [one for one in batch if isinstance(one, Tensor)]
    same = len(tensors) < len(batch) or len({one.dim() for one in tensors}) > 1
    return isinstance(batch, list) and not same and len({one.shape for one in tensors}) > 1


def _has_names(values: Any) -> bool:
    return hasattr(values, "_fields")


def _fields(values: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, a namedtuple or a graph data object; otherwise nothing."""
    if is_graph(values):
        read: Callable[[], Any] = getattr(values, "to_dict", dict)
        return {key: value for key, value in read().items() if tensors_in(value)}
    if _has_names(values):
        return {name: getattr(values, name) for name in values._fields}
    if dataclasses.is_dataclass(values) and not isinstance(values, type):
        return {entry.name: getattr(values, entry.name) for entry in dataclasses.fields(values)}
    return {}


def _is_same(one: ForwardBatch, other: ForwardBatch) -> bool:
    """Return whether two batches consist of the same objects."""

    def parts(batch: ForwardBatch) -> list[Any]:
        return [*batch.arguments, None, *batch.named, *batch.named.values(), batch.targets]

    first, second = parts(one), parts(other)
    return len(first) == len(second) and all(
        a is b or (isinstance(a, str) and a == b) for a, b in zip(first, second, strict=True)
    )
