"""Measure the forward passes of training steps, whatever the training step does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from start_training.lengths.activation_length import activation_norms
from start_training.lengths.capture import INPUT, Capture, LayerReading, numbered_calls
from start_training.lengths.forward_passes import ForwardPasses, measured_net, nets_of
from start_training.lengths.growth_over_time import GrowthOverTime
from start_training.lengths.layer_choice import LayerChoice, Layers, choose_layers
from start_training.lengths.pass_statistics import PassStatistics
from start_training.lengths.survey import Survey, pool_norms, resolved
from start_training.recording.measured_batches import MeasuredBatch
from start_training.recording.optimizer_steps import NO_OPTIMIZER, OptimizerSteps
from start_training.recording.uncompiled_calls import UncompiledCalls

NO_LOSS = torch.tensor(math.nan)


class StepMeasurement:
    """Measures the forward passes of every n-th training step that trains the net.

    A batch on which the module does not train, since `training_step` returns None before any backward pass, is left
    out. Its methods are called in Lightning's hooks of the same names.

    - Automatic optimization: the passes before the backward pass. If the optimizer evaluates the net several times in a
      step, as LBFGS does, only the first evaluation is measured, which is at the weights before the update.
    - Manual optimization: the passes before each backward pass, with the loss of that pass, and with the optimizer that
      steps next. In a closure, only the first evaluation. If the module calls `loss.backward()` itself, the passes
      before each step of an optimizer are measured, and the loss is what `training_step` returns.

    Args:
        module: The module, whose layers get hooks.
        layers: The layers to measure, as in `choose_layers`. They are chosen in the first batch that runs any of them,
            for which compiled modules run uncompiled.
        sample_axis: As in `choose_layers`.
        every_n_steps: Measure every n-th step only.

    Attributes:
        choice: The layers; None before the first batch.
        growth_over_time: What `GrowthOverTime` measured in the first batch; empty without recurrent modules.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Layers,
        *,
        sample_axis: int | Mapping[str, int] | None = None,
        every_n_steps: int,
    ) -> None:
        net = measured_net(module)
        self._net, self._layers, self._every_n_steps = net, layers, every_n_steps
        self._nets = nets_of(module, net)
        self.choice: LayerChoice | None = None
        self.growth_over_time: dict[str, float] = {}
        self._survey: Survey | None = Survey(net, layers, sample_axis=sample_axis)
        self._passes = ForwardPasses(self._nets, self._survey)
        self._eager = UncompiledCalls(module)
        self._over_time = GrowthOverTime(net)
        self._statistics = PassStatistics()
        self._due = False
        self._measuring = False  # this batch: it is due, or the layers are not chosen yet
        self._batch: list[MeasuredBatch] = []  # the passes of this batch
        self._surveyed: list[Sequence[LayerReading]] = []  # what a survey measured in them
        self._batches: list[MeasuredBatch] = []
        self._optimizer = NO_OPTIMIZER  # the only one, or the one that steps now
        self._backward_passes = 0  # of this batch
        self.step = -1
        self.has_tried = self.has_measured = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Begin to count at `step`."""
        self.steps = OptimizerSteps(trainer, module, step, self._before_step, self._after_step)
        self._trainer, self.step = trainer, step - 1

    def on_train_batch_start(self, batch: Any) -> None:
        """Measure this batch, if its step is due."""
        before, self.step = self.step, self.steps.count
        crossed = self.step // self._every_n_steps > before // self._every_n_steps
        self._due = crossed or (self._due and before == self.step)
        self._measuring = self._due or self._survey is not None
        if self._measuring:
            self._batch, self._surveyed, self._backward_passes = [], [], 0
            self._optimizer = self.steps.only()
            if self._survey is not None:
                self._survey.begin(batch)
                self._eager.begin()
                self._over_time.start()
            elif self.choice is not None:
                self.choice.samples.count(batch)
            self._passes.start()

    def on_before_backward(self, loss: Tensor) -> None:
        """Add the passes before this backward pass."""
        if self._measuring:
            self._backward_passes += 1
            self._add_passes(self.steps.unscaled(loss.detach()))

    def on_after_backward(self) -> None:
        """Measure what follows under manual optimization, but not further evaluations within a step."""
        if self._measuring and self.steps.manual and not self.steps.stepping:
            self._measure_more()

    def on_train_batch_end(self, outputs: Any) -> None:
        """End the measurement of this batch.

        Raises:
            RuntimeError: the batch trained the net, but no measured layer has ever run.
        """
        stepped = self.steps.end_batch()
        if not self._measuring:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs  # None if the module skipped the batch
        manual, passes = self.steps.manual, self._backward_passes
        trained = passes > 0 or (manual and (stepped or loss is not None))
        if trained and not passes and not self._batch:  # gradients are accumulated by `loss.backward()`
            self._add_passes(NO_LOSS)
        self.pause()
        # Under automatic optimization the loss of the backward pass may be scaled, and what is returned is not.
        if loss is not None and passes == (0 if manual else 1) and len({one.optimizer for one in self._batch}) == 1:
            loss = loss.detach() * (1 if manual else self._trainer.accumulate_grad_batches)
            self._batch = [replace(one, loss=loss) for one in self._batch]
        if self._survey is not None and self._survey.began:
            self._end_survey(self._survey)
        if trained and not self._batch and not self.has_measured:
            raise RuntimeError(self._nothing_ran())
        self.has_tried, self.has_measured = True, self.has_measured or bool(self._batch)
        phases = numbered_calls([one.phase for one in self._batch])
        if self._due:
            self._batches += [replace(one, phase=phase) for one, phase in zip(self._batch, phases, strict=True)]

    @property
    def due(self) -> bool:
        """Whether the present batch is measured."""
        return self._due

    @property
    def measured_steps(self) -> int:
        """Number of steps from the first measurement that is not taken yet to the newest complete step."""
        if not self._batches or self.steps.count == self.step:
            return 0
        return self.step - self._batches[0].step + 1

    def take(self, *, incomplete: bool = False) -> list[MeasuredBatch]:
        """Return the measurements of complete steps, or of all steps, and forget them."""
        if not self._batches:
            return []
        end = math.inf if incomplete else self.steps.count
        taken = [one for one in self._batches if one.step < end]
        self._batches = [one for one in self._batches if one.step >= end]
        return taken

    def state(self) -> dict[str, int]:
        """Return what a checkpoint needs, as plain data."""
        return self.steps.state() if hasattr(self, "steps") else {}

    def pause(self) -> None:
        """Stop measuring this batch, at its end or after an error."""
        self._passes.stop()
        self._passes.end()
        self._eager.end()

    def remove(self) -> None:
        """Remove all hooks."""
        self.pause()
        self._passes.remove()
        self._over_time.remove()
        if hasattr(self, "steps"):
            self.steps.remove()

    def _end_survey(self, survey: Survey) -> None:
        """Choose the layers, and keep only what was measured of them."""
        self.choice = choice = survey.choose(functions=not self._eager.compiled)
        self.growth_over_time = self._over_time.stop()
        self._over_time.remove()
        self._passes.remove()
        capture = Capture(self._net, choice, measure=activation_norms, pool=pool_norms)
        self._passes, self._survey = ForwardPasses(self._nets, capture), None
        surveyed, self._surveyed = self._surveyed, []
        batch, self._batch = self._batch, []
        for one, readings in zip(batch, surveyed, strict=True):
            layers = capture.numbered(resolved(readings, choice))
            if any(reading.name != INPUT for reading in layers):
                names = tuple(reading.name for reading in layers)
                self._batch.append(replace(one, names=names, numbers=self._statistics(layers)))

    def _before_step(self, name: str, optimizer: Optimizer) -> None:
        if not self._measuring:
            return
        self._optimizer = name, rate = name, float(optimizer.param_groups[0]["lr"])
        if not self._backward_passes:
            self._add_passes(NO_LOSS)
        for batches in (self._batches, self._batch):
            for index, one in enumerate(batches):
                if not one.optimizer:
                    batches[index] = replace(one, optimizer=name, learning_rate=rate)
        self._measure_more()

    def _after_step(self) -> None:
        if self._measuring:
            if not self._backward_passes:
                self._add_passes(NO_LOSS, most=1)
            self._measure_more()

    def _measure_more(self) -> None:
        if not self._passes.active:
            self._passes.start()

    def _add_passes(self, loss: Tensor, most: int | None = None) -> None:
        """Stop measuring, and add the first passes since measuring began."""
        optimizer = self._optimizer if self.steps.stepping or not self.steps.several else NO_OPTIMIZER
        epoch = self._trainer.current_epoch
        for forward_pass in self._passes.stop()[:most]:
            phase, readings = forward_pass.phase or "forward", forward_pass.readings
            names: tuple[str, ...] = ()
            numbers = NO_LOSS
            if self._survey is not None:
                self._surveyed.append(readings)
            else:
                names, numbers = tuple(reading.name for reading in readings), self._statistics(readings)
            self._batch.append(MeasuredBatch(self.step, epoch, names, numbers, loss, phase, *optimizer))

    def _nothing_ran(self) -> str:
        names = list((self.choice or choose_layers(self._net, self._layers)).kinds)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return (
            f"step {self.step} trained the net, but no measured layer ran: {', '.join(names[:3])}{more}. training_step "
            "has to call these modules, not only use their weights; layers=[…] chooses other layers"
        )
