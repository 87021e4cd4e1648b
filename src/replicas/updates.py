"""A step of a whole group: one forward and backward pass, one update."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from start_training.datamodules.loader import EvaluationLoader
from start_training.lengths.activation_length import lengths_of_layers
from start_training.lengths.statistics import pack_statistics
from start_training.replicas.batches import Batches
from start_training.replicas.caches import CACHE, is_out_of_memory, spans_of, together
from start_training.replicas.evaluation import Evaluation, Precision
from start_training.replicas.first_layer import FirstLayer
from start_training.replicas.optimizer import Settings, StackedOptimizer
from start_training.replicas.stack import Rows, Stack
from start_training.replicas.vectorized import Lengths, Passed, losses_given, losses_of

# Elements of an average parameter of those that go together, from which to copy them takes longer than to begin.
LARGE = 2**16


class Update(NamedTuple):
    """Of each replica, on the device: its loss, (R,), and the reading of its lengths, (R, numbers), if measured."""

    losses: Tensor
    readings: Tensor | None


class Updates:
    """Takes the steps of a stack's replicas, a few at a time where all at once are too many.

    When memory runs out, half as many go together from then on, and the step is taken.
    """

    def __init__(
        self, stack: Stack, optimizer: StackedOptimizer, batches: Batches, precision: Precision, lengths: Lengths | None
    ) -> None:
        self.stack, self.optimizer, self.batches = stack, optimizer, batches
        self.lengths = lengths
        self._precision = precision
        self._together = together(stack, batches)
        self._values: tuple[list[int], Tensor] | None = None
        self._first = self._first_layer()
        self._first_is_measured = bool(lengths and self._first and self._first.reads_inputs(stack.template, lengths))
        self._divide()

    def keep(self, rows: Sequence[int]) -> None:
        """Let the other replicas go."""
        self.stack.keep(rows)
        self.optimizer.keep(torch.tensor(list(rows), device=self.stack.parameters.device))
        self.batches.keep(rows)
        self._divide()

    def evaluate(self, measure: Evaluation, loader: EvaluationLoader) -> tuple[Tensor, ...]:
        """What `measure` finds of all replicas on a set; where memory runs out, of half as many at a time."""
        while True:
            try:
                return measure(self.stack, loader, self._spans_of(loader.largest), self._precision)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._together == 1:
                    raise
            self._together = math.ceil(self._together / 2)
            self._divide()

    def _spans_of(self, samples: int) -> list[slice]:
        """Replicas to evaluate together on so many samples at a time; on a GPU all, as `replica_bytes` has it."""
        of_batch, on_cpu = self.batches.size(0), self.stack.parameters.device.type == "cpu"
        fewer = max(1, self._together * of_batch // samples) if on_cpu and samples > of_batch else self._together
        return spans_of(len(self.stack), fewer)

    def take(self, batch: int, settings: Settings, *, measured: bool) -> Update:
        """The update of a batch of the epoch."""
        self.optimizer.begin()
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
                self._halve(len(updates))
                continue
            self._step(span, gradients, settings)
            updates.append(update)
        if self._together < together:
            self._divide()
        readings = [update.readings for update in updates if update.readings is not None]
        return Update(torch.cat([update.losses for update in updates]), torch.cat(readings) if readings else None)

    def _pass(self, batch: int, span: slice, rows: Rows, measured: bool) -> tuple[Update, list[Tensor]]:
        """Losses and readings, and each parameter's gradients, (k, elements).

        Many small ones joined, for the fewest operations; large ones as they are, to copy nothing.
        """
        with self._precision():
            passed = self._losses(batch, span, rows, self.lengths if measured else None)
        gradients = torch.autograd.grad(passed.losses.sum(), list(rows.parameters.values()))
        update = Update(passed.losses.detach(), self._read(passed.norms) if passed.norms else None)
        parts = [gradient.reshape(len(gradient), -1) for gradient in gradients]
        return update, [torch.cat(parts, dim=1)] if self._joined else parts

    def _step(self, span: slice, gradients: list[Tensor], settings: Settings) -> None:
        settings = settings.each(lambda column: column[span])
        for columns, gradient in zip([slice(None)] if self._joined else self.stack.columns, gradients, strict=True):
            self.optimizer.step_(self.stack.parameters, gradient, settings, (span, columns))

    def _losses(self, batch: int, span: slice, rows: Rows, lengths: Lengths | None) -> Passed:
        if lengths is not None:
            lengths.replicas = span.stop - span.start
        if self._first is None or self.batches.shared:
            inputs, targets, shared = self.batches.take(batch, span)
            return losses_of(self.stack, rows, inputs, targets, shared=shared, lengths=lengths)
        index = self.batches.index(batch, span)
        passed = losses_given(self.stack, rows, self._first, index, self.batches.targets(index), lengths=lengths)
        if lengths is not None and self._first_is_measured:
            lengths.values[0] = self.batches.samples.inputs[0].numel()
            return passed._replace(norms=(self._first.norms(index), *passed.norms[1:]))
        return passed

    def _read(self, norms: tuple[Tensor, ...]) -> Tensor:
        assert self.lengths is not None
        values = self.lengths.values
        if len({layer.shape for layer in norms}) > 1:
            pairs = zip(norms, values, strict=True)
            return pack_statistics([layer.double().square().div(of_layer) for layer, of_layer in pairs]).T
        if self._values is None or self._values[0] != values:  # to copy them to a GPU waits for it
            self._values = values, torch.tensor(values, dtype=torch.float64, device=norms[0].device)
        lengths = lengths_of_layers([layer.flatten() for layer in norms], self._values[1])
        return pack_statistics(lengths.unflatten(1, norms[0].shape)).T

    def _first_layer(self) -> FirstLayer | None:
        """Where the batches of all replicas would leave a CPU's caches."""
        samples = self.batches.samples
        bytes_of_batch = samples.inputs[:1].nbytes * self.batches.size(0)
        large = bytes_of_batch * min(self._together, len(self.stack)) > CACHE
        if samples.inputs.device.type != "cpu" or self._precision is not nullcontext or not large:
            return None
        return FirstLayer.of(self.stack.template, samples)

    def _divide(self) -> None:
        elements = self.stack.parameters[: self._together].numel() / len(self.stack.columns)
        self._joined = elements < LARGE or self.stack.parameters.device.type != "cpu"
        self._rows = [(span, self.stack.rows(span)) for span in spans_of(len(self.stack), self._together)]

    def _halve(self, position: int) -> None:
        """Go on from here with half as many at a time; what is done of this step stays done."""
        self._together = math.ceil(self._together / 2)
        start = self._rows[position][0].start
        rest = spans_of(len(self.stack) - start, self._together)
        spans = [slice(start + each.start, start + each.stop) for each in rest]
        self._rows = self._rows[:position] + [(span, self.stack.rows(span)) for span in spans]
