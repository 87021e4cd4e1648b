"""The training step of a group: forward pass, backward pass and update of all replicas."""

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
from start_training.replicas.forward_pass import ForwardResult, StackedLengths, losses_from_first_layer, losses_of
from start_training.replicas.memory import CACHE, is_out_of_memory, replicas_per_pass, spans_of
from start_training.replicas.optimizer import StackedOptimizer, StepSettings
from start_training.replicas.stack import Stack, StackRows

# Mean number of elements per parameter, over the replicas in one pass, above which concatenating the gradients takes
# longer than updating the parameters one by one.
LARGE = 2**16
Precision = Callable[[], AbstractContextManager[object]]
# A function that computes metrics of all replicas on a data set; see `group_evaluation.logged_metrics`.
Evaluation: TypeAlias = Callable[[Stack, EvaluationLoader, Sequence[slice], Precision], tuple[Tensor, ...]]


class Update(NamedTuple):
    """The results of a training step on the device: losses (R,), and readings (R, numbers) if lengths were measured."""

    losses: Tensor
    readings: Tensor | None


class Updates:
    """Train all replicas of a stack step by step.

    A step consists of one or several passes, each of some of the replicas. When memory runs out, the number of replicas
    in a pass is halved for this and all later steps.

    Args:
        precision: Creates the context manager for the precision of forward passes.
        lengths: Measures activation lengths; None if no callback needs them.
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
        self._replicas_per_pass = replicas_per_pass(stack, batches)
        self._values: tuple[list[int], Tensor] | None = None
        self._first = self._first_layer()
        self._first_is_measured = bool(lengths and self._first and lengths.reads_inputs(stack.template, self._first))
        self._divide()

    def keep(self, rows: Sequence[int]) -> None:
        """Keep the replicas with the given indices, and drop all others."""
        self.stack.keep(rows)
        self.optimizer.keep(torch.tensor(list(rows), device=self.stack.parameters.device))
        self.batches.keep(rows)
        self._divide()

    def evaluate(self, measure: Evaluation, loader: EvaluationLoader) -> tuple[Tensor, ...]:
        """Compute metrics of all replicas on a data set, halving the number of replicas in a pass if memory runs out.

        Args:
            measure: The function that computes the metrics.
            loader: The batches of the data set.
        Returns:
            The metrics, shape (R,) each.
        """
        while True:
            try:
                return measure(self.stack, loader, self._spans_of(loader.largest), self._precision)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._replicas_per_pass == 1:
                    raise
            self._halve()

    def _spans_of(self, samples: int) -> list[slice]:
        """Return the slices of replicas to evaluate in one pass with batches of the given number of samples.

        On a CPU with larger batches than in training, a pass has fewer replicas, so that it fits into the caches. On a
        GPU it has as many as in training, which is what `bytes_per_replica` assumes.
        """
        replicas, batch_size = self._replicas_per_pass, self.batches.size(0)
        if self.stack.parameters.device.type == "cpu" and samples > batch_size:
            replicas = max(1, replicas * batch_size // samples)
        return spans_of(len(self.stack), replicas)

    def train_step(self, batch: int, settings: StepSettings, *, measured: bool) -> Update:
        """Train all replicas for one step.

        Args:
            batch: The number of the batch in the epoch.
            settings: The optimizer settings of the step.
            measured: Whether to measure activation lengths.
        """
        self.optimizer.steps += 1
        updates: list[Update] = []
        initial = self._replicas_per_pass
        while len(updates) < len(self._rows):
            span, rows = self._rows[len(updates)]
            buffers = {name: tensor.clone() for name, tensor in rows.rest.items()}
            try:
                update, gradients = self._pass(batch, span, rows, measured)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or span.stop - span.start == 1:
                    raise
                for name, tensor in rows.rest.items():
                    tensor.copy_(buffers[name])
                self._halve(done=len(updates))
                continue
            self._step(span, gradients, settings)
            updates.append(update)
        if self._replicas_per_pass < initial:
            self._divide()
        readings = [update.readings for update in updates if update.readings is not None]
        return Update(torch.cat([update.losses for update in updates]), torch.cat(readings) if readings else None)

    def _pass(self, batch: int, span: slice, rows: StackRows, measured: bool) -> tuple[Update, list[Tensor]]:
        """Run a forward and backward pass of k replicas.

        Returns:
            Losses and readings; and gradients (k, elements), concatenated, or for each parameter if they are large.
        """
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

    def _losses(self, batch: int, span: slice, rows: StackRows, lengths: StackedLengths | None) -> ForwardResult:
        if lengths is not None:
            lengths.replicas = span.stop - span.start
        if self._first is None or self.batches.shared:
            inputs, targets = self.batches.gather(batch, span)
            return losses_of(self.stack, rows, inputs, targets, shared=self.batches.shared, lengths=lengths)
        index = self.batches.index(batch, span)
        passed = losses_from_first_layer(
            self.stack, rows, self._first, index, self.batches.targets(index), lengths=lengths
        )
        if lengths is not None and self._first_is_measured:
            lengths.values[0] = self.batches.samples.inputs[0].numel()
            return passed._replace(norms=(self._first.norms[index], *passed.norms[1:]))
        return passed

    def _read(self, norms: tuple[Tensor, ...]) -> Tensor:
        assert self.lengths is not None
        values = self.lengths.values
        sampled = self.lengths.sampled
        if len({layer.shape for layer in norms}) > 1 or not all(sampled):
            pairs = zip(norms, values, strict=True)
            return pack_statistics([layer.double().square().div(count) for layer, count in pairs], sampled=sampled).T
        if self._values is None or self._values[0] != values:  # reused, as copying to a GPU waits for it
            self._values = values, torch.tensor(values, dtype=torch.float64, device=norms[0].device)
        lengths = lengths_of_layers([layer.flatten() for layer in norms], self._values[1])
        return pack_statistics(lengths.unflatten(1, norms[0].shape)).T

    def _first_layer(self) -> FirstLayer | None:
        """Find the first layer if it should gather batches one by one: on a CPU whose caches are too small for all."""
        samples = self.batches.samples
        batch_bytes = samples.inputs[:1].nbytes * self.batches.size(0)
        large = batch_bytes * min(self._replicas_per_pass, len(self.stack)) > CACHE
        if samples.inputs.device.type != "cpu" or self._precision is not nullcontext or not large:
            return None
        return FirstLayer.find(self.stack.template, samples)

    def _halve(self, *, done: int = 0) -> None:
        """Halve the number of replicas in a pass, from the pass with index `done` of this step on."""
        self._replicas_per_pass = math.ceil(self._replicas_per_pass / 2)
        self._divide(done=done)

    def _divide(self, *, done: int = 0) -> None:
        elements = self.stack.parameters[: self._replicas_per_pass].numel() / len(self.stack.columns)
        self._joined = elements < LARGE or self.stack.parameters.device.type != "cpu"
        start = self._rows[done][0].start if done else 0
        rest = spans_of(len(self.stack) - start, self._replicas_per_pass)
        spans = [slice(start + span.start, start + span.stop) for span in rest]
        self._rows = self._rows[:done] + [(span, self.stack.rows(span)) for span in spans]
