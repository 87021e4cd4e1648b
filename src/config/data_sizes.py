"""Input shape and number of outputs that the data and the task ask of a net: from attributes, else from a batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from start_training.config.build_task import build_task
from start_training.ranks import is_rank_zero
from start_training.streams import isolate_random_streams
from start_training.tasks.task import Task, declared

# Attributes of a datamodule that state the number of outputs, if the task is unknown or the user's own module.
OUTPUTS = ("outputs", "classes", "num_classes", "n_classes", "num_outputs", "labels", "num_labels")
ATTRIBUTES = "the attributes input_shape and classes (outputs for numbers, labels for several labels)"


@dataclass(frozen=True)
class DataSizes:
    """What a net has to be sized for: the shape of one input, and the number of outputs."""

    input_shape: tuple[int, ...]
    outputs: int


def sizes_of(config: Mapping[str, Any], datamodule: Any) -> DataSizes:
    """Return input shape and number of outputs for a net on a datamodule, trained for the task of the config.

    The datamodule's attributes count; what they do not state is read from its first training batch, for which the data
    are loaded.

    Raises:
        ValueError: neither states it, or the targets are not those of the task.
    """
    task = build_task(config)
    shape = input_shape_of(datamodule)
    outputs = (task.outputs or task.outputs_of(datamodule)) if task else declared(datamodule, *OUTPUTS)
    if shape is None or outputs is None:
        inputs, targets = first_batch(datamodule)
        shape = tuple(inputs.shape[1:]) if shape is None else shape
        outputs = outputs_in(task, targets, datamodule) if outputs is None else outputs
    return DataSizes(shape, outputs)


def input_shape_of(datamodule: Any) -> tuple[int, ...] | None:
    """Return the shape of one input that a datamodule states, as `input_shape` or `dims`; None if it states none."""
    for name in ("input_shape", "dims"):
        shape = getattr(datamodule, name, None)
        if isinstance(shape, int) and not isinstance(shape, bool):
            return (shape,)
        if isinstance(shape, Iterable) and not isinstance(shape, str) and (sizes := tuple(shape)):
            return tuple(int(size) for size in sizes)
    return None


def outputs_in(task: Task | None, targets: Any, datamodule: Any) -> int:
    """Return the number of outputs for a batch of targets.

    Without a task, numbers are regression's, and whole numbers, one per sample, are class numbers.

    Raises:
        ValueError: the targets are no tensor, or not those of the task.
    """
    name = type(datamodule).__name__
    if not isinstance(targets, Tensor) or not targets.numel():
        kind = type(targets).__name__
        raise ValueError(
            f"datamodule = {name}: the targets of its first batch are of type {kind}; must be a tensor, as in "
            f"(inputs, targets), or the datamodule must have {ATTRIBUTES}"
        )
    if task is not None:
        return task.outputs_of_targets(targets)
    whole = targets.ndim == 1 and not targets.is_floating_point()
    return int(targets.max()) + 1 if whole else max(1, targets[0].numel())


_first: "WeakKeyDictionary[Any, tuple[Tensor, Any]]" = WeakKeyDictionary()  # of the datamodules that were asked


def first_batch(datamodule: Any) -> tuple[Tensor, Any]:
    """Return inputs and targets of a datamodule's first training batch; random streams are left as they were.

    Raises:
        ValueError: there is no training batch, or it is not (inputs, targets).
    """
    name = type(datamodule).__name__
    if datamodule in _first:
        return _first[datamodule]
    with isolate_random_streams():
        if is_rank_zero():
            datamodule.prepare_data()
        datamodule.setup("fit")
        loader = datamodule.train_dataloader()
        batch = next(iter(loader), None) if isinstance(loader, Iterable) else None
    if not isinstance(batch, list | tuple) or len(batch) < 2 or not isinstance(batch[0], Tensor) or not batch[0].ndim:
        found = "no training batch" if batch is None else f"a first batch of type {type(batch).__name__}"
        raise ValueError(
            f"datamodule = {name}: has {found}; must yield (inputs, targets) as tensors, or have {ATTRIBUTES}"
        )
    _first[datamodule] = (batch[0], batch[1])
    return batch[0], batch[1]


def chance_of(config: Mapping[str, Any], datamodule: Any) -> float | None:
    """Return the loss of a net that has learned nothing, as far as the attributes of the datamodule tell; else None."""
    task = build_task(config)
    if task is None:
        return None
    task.outputs = task.outputs or task.outputs_of(datamodule)
    return task.chance_loss()
