"""The training step of a whole group: forward pass, backward pass and update."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from start_training.datamodules.loader import EvaluationLoader
from start_training.lengths.activation_length import lengths_of_layers
from start_training.lengths.statistics import pack_statistics
from start_training.replicas.batches import GroupBatches
from start_training.replicas.first_layer import FirstLayer
from start_training.replicas.forward_pass import Passed, StackedLengths, losses_given, losses_of
from start_training.replicas.memory import CACHE, is_out_of_memory, spans_of, together
from start_training.replicas.optimizer import StackedOptimizer, StepSettings
from start_training.replicas.stack import Stack, StackRows

# Elements of an average parameter of the replicas in one pass, above which joining gradients takes longer than updating
# one parameter after the other.
LARGE = 2**16
Precision = Callable[[], AbstractContextManager[object]]
# Means over a set for each replica, in passes of some replicas each; see `group_evaluation.logged_metrics`.
Evaluation: TypeAlias = Callable[[Stack, EvaluationLoader, Sequence[slice], Precision], tuple[Tensor, ...]]


class Update(NamedTuple):
    """The losses (R,) of a step, and, if lengths were measured, their readings (R, numbers), on the device."""

    losses: Tensor
    readings: Tensor | None


class Updates:
    """Trains the replicas of a stack step by step, in passes of some of them where all at once are too many.

    When memory runs out, passes are of half as many replicas from then on, and the step is completed.
    """

    def __init__(
        self,
        stack: Stack,
        optimizer: StackedOptimizer,
        batches: GroupBatches,
        precision: Precision,
        lengths: StackedLengths | None,
    ) -> None:
        self.stack, self.optimizer, self.batches, self.lengths = stack, optimizer, batches, lengths
        self._precision = precision
        self._rows: list[tuple[slice, StackRows]] = []
        self._together = together(stack, batches)
        self._values: tuple[list[int], Tensor] | None = None
        self._first = self._first_layer()
        self._first_is_measured = bool(lengths and self._first and lengths.reads_inputs(stack.template, self._first))
        self._divide()

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other replicas."""
        self.stack.keep(rows)
        self.optimizer.keep(torch.tensor(list(rows), device=self.stack.parameters.device))
        self.batches.keep(rows)
        self._divide()

    def evaluate(self, measure: Evaluation, loader: EvaluationLoader) -> tuple[Tensor, ...]:
        """Evaluate all replicas on a set by an `Evaluation`; see the class on memory."""
        while True:
            try:
                return measure(self.stack, loader, self._spans_of(loader.largest), self._precision)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._together == 1:
                    raise
            self._halve()

    def _spans_of(self, samples: int) -> list[slice]:
        """The replicas of each pass of so many samples; on a GPU all of a training pass, as in `replica_bytes`."""
        of_batch, on_cpu = self.batches.size(0), self.stack.parameters.device.type == "cpu"
        fewer = max(1, self._together * of_batch // samples) if on_cpu and samples > of_batch else self._together
        return spans_of(len(self.stack), fewer)

    def take(self, batch: int, settings: StepSettings, *, measured: bool) -> Update:
        """Train one step on a batch of the epoch."""
        self.optimizer.steps += 1
        updates: list[Update] = []
        together = self._together
        while len(updates) < len(self._rows):
            span, rows = self._rows[len(updates)]
            before = {name: each.clone() for name, each in rows.rest.items()}
            try:
                update, gradients = self._pass(batch, span, rows, measured)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or span.stop - span.start == 1:
                    raise
                for name, each in rows.rest.items():
                    each.copy_(before[name])
                self._halve(done=len(updates))
                continue
            self._step(span, gradients, settings)
            updates.append(update)
        if self._together < together:
            self._divide()
        readings = [update.readings for update in updates if update.readings is not None]
        return Update(torch.cat([update.losses for update in updates]), torch.cat(readings) if readings else None)

    def _pass(self, batch: int, span: slice, rows: StackRows, measured: bool) -> tuple[Update, list[Tensor]]:
        """Losses and readings, and gradients (k, elements): of all parameters joined, or, if large, of each."""
        with self._precision():
            passed = self._losses(batch, span, rows, self.lengths if measured else None)
        gradients = torch.autograd.grad(passed.losses.sum(), list(rows.parameters.values()))
        update = Update(passed.losses.detach(), self._read(passed.norms) if passed.norms else None)
        parts = [gradient.reshape(len(gradient), -1) for gradient in gradients]
        return update, [torch.cat(parts, dim=1)] if self._joined else parts

    def _step(self, span: slice, gradients: list[Tensor], settings: StepSettings) -> None:
        settings = settings.map(lambda column: column[span])
        for columns, gradient in zip([slice(None)] if self._joined else self.stack.columns, gradients, strict=True):
            self.optimizer.step_(self.stack.parameters, gradient, settings, (span, columns))

    def _losses(self, batch: int, span: slice, rows: StackRows, lengths: StackedLengths | None) -> Passed:
        if lengths is not None:
            lengths.replicas = span.stop - span.start
        if self._first is None or self.batches.shared:
            inputs, targets = self.batches.take(batch, span)
            return losses_of(self.stack, rows, inputs, targets, shared=self.batches.shared, lengths=lengths)
        index = self.batches.index(batch, span)
        passed = losses_given(self.stack, rows, self._first, index, self.batches.targets(index), lengths=lengths)
        if lengths is not None and self._first_is_measured:
            lengths.values[0] = self.batches.samples.inputs[0].numel()
            return passed._replace(norms=(self._first.norms[index], *passed.norms[1:]))
        return passed

    def _read(self, norms: tuple[Tensor, ...]) -> Tensor:
        assert self.lengths is not None
        values = self.lengths.values
        if len({layer.shape for layer in norms}) > 1:
            pairs = zip(norms, values, strict=True)
            return pack_statistics([layer.double().square().div(of_layer) for layer, of_layer in pairs]).T
        if self._values is None or self._values[0] != values:  # a copy to a GPU waits for it
            self._values = values, torch.tensor(values, dtype=torch.float64, device=norms[0].device)
        lengths = lengths_of_layers([layer.flatten() for layer in norms], self._values[1])
        return pack_statistics(lengths.unflatten(1, norms[0].shape)).T

    def _first_layer(self) -> FirstLayer | None:
        """The first layer, where the batches of all replicas do not fit into a CPU's caches; or None."""
        samples = self.batches.samples
        bytes_of_batch = samples.inputs[:1].nbytes * self.batches.size(0)
        large = bytes_of_batch * min(self._together, len(self.stack)) > CACHE
        if samples.inputs.device.type != "cpu" or self._precision is not nullcontext or not large:
            return None
        return FirstLayer.of(self.stack.template, samples)

    def _halve(self, *, done: int = 0) -> None:
        """Halve the number of replicas in a pass, and divide those that are not `done` in this step."""
        self._together = math.ceil(self._together / 2)
        self._divide(done=done)

    def _divide(self, *, done: int = 0) -> None:
        elements = self.stack.parameters[: self._together].numel() / len(self.stack.columns)
        self._joined = elements < LARGE or self.stack.parameters.device.type != "cpu"
        start = self._rows[done][0].start if done else 0
        rest = spans_of(len(self.stack) - start, self._together)
        spans = [slice(start + span.start, start + span.stop) for span in rest]
        self._rows = self._rows[:done] + [(span, self.stack.rows(span)) for span in spans]
