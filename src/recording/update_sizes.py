"""Measure how far each optimizer step moves each parameter, and the gradient that it is given."""

import math
import re
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from start_training.lengths.capture import numbered_calls
from start_training.recording.observed_optimizer import ObservedOptimizer
from start_training.recording.step_measurement import StepMeasurement
from start_training.runs.length_tables import LengthTables

_OWN_NAME = re.compile(r"(^|\.)(parametrizations\..*|[^.]*)$")  # of a parameter in its module


class MeasuredUpdate(NamedTuple):
    """An optimizer step of n parameters.

    Args:
        step: The training step.
        optimizer: Name of the optimizer; from its second step in a training step on, `name:2`, `name:3`, ….
        parameters: A row for each parameter, with the columns name, parameter, dimensions and size.
        norms: Norms of weights before the step, of gradients and of updates, shape (3, n).
    """

    step: int
    optimizer: str
    parameters: pd.DataFrame
    norms: NDArray[np.float64]

    @property
    def relative(self) -> NDArray[np.float64]:
        """‖Δw‖ / ‖w‖, shape (n,); NaN where the weights were zero."""
        weights, _, updates = self.norms
        return np.divide(updates, weights, out=np.full_like(updates, math.nan), where=weights != 0)


class UpdateSizes:
    """Measures the steps of all optimizers in those training steps whose lengths are measured.

    All parameters in an optimizer that require gradients are measured: weights, and also biases and the parameters of
    normalization layers, which have fewer than two dimensions. A tensor that several modules share is one parameter,
    with the first of its names. Norms are Euclidean norms ‖·‖ over all elements of a tensor, in float64.

    - Weights w are those before the step. The update Δw = w(after) − w(before) has all that the optimizer does, such as
      momentum, weight decay and rounding.
    - Gradients g are those that the optimizer is given: of all micro-batches, without the scale of 16-bit precision,
      and after clipping. Of several evaluations of a closure, as LBFGS's, they are those of the first. NaN: none.
    - A step in which no parameter has a gradient, as that of a skipped batch, is left out; so is a step that is skipped
      since 16-bit gradients overflow.

    Nothing waits for the device before `take`. During a step the weights before it are kept, which needs as much memory
    as these parameters; on a CPU they are kept until the next step. With several processes, those of rank 0 are
    measured, which under DDP are those of all.

    Args:
        trainer: A Trainer whose optimizers are set up.
        module: Its module.
        net: The part of it that is measured, in which parameters have their names.
        measurement: The measurement of lengths in this training. The hooks are removed with its hooks.

    Raises:
        ValueError: The parameters are sharded, or an optimizer has no hooks before and after its steps.
    """

    def __init__(
        self, trainer: pl.Trainer, module: pl.LightningModule, net: nn.Module, measurement: StepMeasurement
    ) -> None:
        if any(_is_sharded(part) for part in module.modules()):
            raise ValueError(
                "updates = True: the parameters are sharded (FSDP, tensor parallelism), and norms of shards are not "
                "those of parameters; set updates=False"
            )
        self._measurement, self._roots = measurement, (module, net)
        self._labels: dict[tuple[int, ...], pd.DataFrame] = {}  # by the ids of parameters
        self._measured: list[tuple[int, str, pd.DataFrame, Tensor]] = []
        self._has_measured = False
        self._observed: list[ObservedOptimizer] = []
        measurement.steps.handles.append(self)
        self._writes = trainer.is_global_zero
        for name, optimizer in measurement.steps.optimizers.items():
            early, add = measurement.steps.manual, partial(self._add, name)
            try:
                self._observed.append(ObservedOptimizer(optimizer, module.device, self._due, add, early=early))
            except AttributeError:
                raise ValueError(
                    f"updates = True: the optimizer {name} has no hooks before and after its steps, as those of "
                    "torch.optim have; set updates=False"
                ) from None

    def write(self, tables: LengthTables | None, *, incomplete: bool = False) -> list[MeasuredUpdate]:
        """Append to the table `updates/` what `take` returns, and return it, too."""
        updates = self.take(incomplete=incomplete)
        if updates and tables is not None:
            tables.append_updates(update_rows(updates))
        return updates

    def take(self, *, incomplete: bool = False) -> list[MeasuredUpdate]:
        """Return the optimizer steps of complete training steps, or of all, in order, and forget them."""
        end = math.inf if incomplete else self._measurement.steps.count
        taken = [one for one in self._measured if one[0] < end]
        self._measured = self._measured[len(taken) :]
        if not taken:
            return []
        of_step = [[name for _, name, *_ in group] for _, group in groupby(taken, key=lambda one: one[0])]
        names = [name for group in of_step for name in numbered_calls(group)]
        norms = torch.cat([norms for *_, norms in taken], dim=1).cpu().numpy()
        parts = np.split(norms, np.cumsum([len(labels) for _, _, labels, _ in taken])[:-1], axis=1)
        return [
            MeasuredUpdate(step, name, labels, part)
            for (step, _, labels, _), name, part in zip(taken, names, parts, strict=True)
        ]

    def remove(self) -> None:
        """Remove the hooks from the optimizers; warn if steps were to be measured, but torch has seen none."""
        if self._writes and self._measurement.has_measured and not self._has_measured:
            warnings.warn("updates=True measured nothing: no optimizer has stepped with a gradient", stacklevel=2)
        for observed in self._observed:
            observed.remove()
        self._observed, self._writes = [], False

    def _due(self) -> int | None:
        return self._measurement.step if self._writes and self._measurement.due else None

    def _add(self, name: str, parameters: Sequence[Tensor], norms: Tensor) -> None:
        key = tuple(map(id, parameters))
        if key not in self._labels:
            self._labels[key] = self._labels_of(parameters)
        self._measured.append((self._measurement.step, name, self._labels[key], norms))
        self._has_measured = True

    def _labels_of(self, parameters: Sequence[Tensor]) -> pd.DataFrame:
        # Parameters outside the net have their names in the module, and those outside the module a number.
        named = {id(value): name for root in self._roots for name, value in root.named_parameters()}
        names = [named.get(id(value), f"[{index}]") for index, value in enumerate(parameters)]
        names = [name.replace("_orig_mod.", "") for name in names]  # torch.compile adds this prefix
        return pd.DataFrame(
            {
                "name": [_OWN_NAME.sub("", name) for name in names],
                "parameter": names,
                "dimensions": np.array([value.dim() for value in parameters], np.int32),
                "size": [value.numel() for value in parameters],
            }
        )


def update_rows(updates: Sequence[MeasuredUpdate]) -> pd.DataFrame:
    """Return rows of the table `updates/`, one per optimizer step and parameter, ordered by step.

    Args:
        updates: At least one optimizer step, in order.

    Returns:
        Columns step, optimizer, name (of the module), parameter (full name), dimensions, size (number of elements),
        weight_norm ‖w‖, gradient_norm ‖g‖ (NaN: no gradient), update_norm ‖Δw‖, and relative_update ‖Δw‖ / ‖w‖ (NaN:
        the weights were zero).

    Example:
        >>> labels = pd.DataFrame({"name": ["0"], "parameter": ["0.weight"], "dimensions": [2], "size": [6]})
        >>> update = MeasuredUpdate(3, "net (SGD)", labels, np.array([[2.0], [5.0], [0.5]]))
        >>> update_rows([update])[["step", "parameter", "gradient_norm", "relative_update"]]
           step parameter  gradient_norm  relative_update
        0     3  0.weight            5.0             0.25
    """
    counts = [len(update.parameters) for update in updates]
    rows = pd.concat([update.parameters for update in updates], ignore_index=True)
    rows.insert(0, "step", np.repeat([update.step for update in updates], counts))
    rows.insert(1, "optimizer", np.repeat(np.array([update.optimizer for update in updates], object), counts))
    norms = np.concatenate([update.norms for update in updates], axis=1)
    rows["weight_norm"], rows["gradient_norm"], rows["update_norm"] = norms
    rows["relative_update"] = np.concatenate([update.relative for update in updates])
    return rows


def _is_sharded(module: nn.Module) -> bool:
    """Return whether FSDP manages a module, or a parameter of its own is a distributed tensor."""
    own = module.parameters(recurse=False)
    return hasattr(module, "_is_fsdp_managed_module") or any(hasattr(value, "placements") for value in own)
