"""Read lengths of activations and of gradients, and how different inputs still are, from a pass in each direction."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import torch
from torch import Generator, Tensor, nn

from start_training.diagnosis.trials.forward_batch import ForwardBatch
from start_training.diagnosis.trials.guessed_loss import output_tensors
from start_training.diagnosis.trials.objective import Objective
from start_training.initializers.weights import weights_of
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.lengths.gradient_length import gradient_lengths
from start_training.lengths.layer_choice import LayerChoice, Layers
from start_training.lengths.signal.cosine import sample_distance, token_distance


@dataclass
class Reading:
    """What is read from one layer in one pass of one net.

    Attributes:
        lengths: ‖act‖² / width of each sample, shape (samples,).
        silent: Fraction of units that are zero on every sample; a unit is a channel (axis 1) of tensors with four or
            more axes, and an entry of the last axis otherwise.
        variation: Variance over samples, summed over units, relative to the mean of squared norms; NaN for one sample.
        samples: Distance between samples, as in `sample_distance`.
        tokens: Distance between tokens, as in `token_distance`.
        branch: ‖act_j − act_{j−1}‖² / ‖act_j‖² if the layer before has the same shape, otherwise NaN; for a residual
            block this is the share of what it adds.
        largest: Largest absolute value.
        feeds: Names of the layers with weights that were executed since the previous layer.
        name: Name of the layer, as in `Capture`.
        gradients: Squared norm of the gradient with respect to the layer's activations for each sample, shape
            (samples,), or None if no gradient flows.
    """

    lengths: Tensor
    silent: float
    variation: float
    samples: float
    tokens: float
    branch: float
    largest: float
    feeds: tuple[str, ...]
    name: str = ""
    gradients: Tensor | None = None
    steps: Sequence["Reading"] = field(default=(), repr=False)

    def finished(self, name: str) -> "Reading":
        """Return it with its name; and of the time steps of a recurrent cell with the mean of their gradients."""
        self.name = name
        known = [step.gradients for step in self.steps if step.gradients is not None]
        if known:
            self.gradients = torch.stack(known).mean(0)
        return self


class Probe:
    """Context manager that installs hooks on a net, which `read` uses, and removes them at the end.

    `read` passes a batch forward, and backward the gradient of a loss, or without one a random Gaussian cotangent of
    the outputs; the gradients are then those of Σ ⟨cotangent, output⟩. They are read by hooks on the captured tensors,
    so that they are correct even if the next module changes these tensors in place.

    Args:
        net: The net; its innermost modules get hooks.
        layers: The layers to measure, as in `Capture`.

    Raises:
        ValueError: see `Capture`.
    """

    def __init__(self, net: nn.Module, layers: Layers | LayerChoice = "auto") -> None:
        self._net = net
        self._capture = Capture(net, layers, measure=self._measure, pool=_pooled)
        weighted = {weight.layer: weight.module for weight in weights_of(net)}
        self._handles = [module.register_forward_pre_hook(self._fed_by(name)) for name, module in weighted.items()]

    def __enter__(self) -> "Probe":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._capture.remove()
        for handle in self._handles:
            handle.remove()

    def read(self, batch: ForwardBatch, generator: Generator, objective: Objective | None = None) -> list[Reading]:
        """Run one forward and one backward pass, and return a reading for each of layers 0 … d; layer 0 is the input.

        Args:
            batch: The arguments of `net.forward`, and the targets of the loss.
            generator: Random generator of the cotangent.
            objective: The loss; None: a random cotangent.

        Raises:
            ValueError: the output has no floating-point tensor.
        """
        self._ran: list[str] = []
        self._previous: Tensor | None = None
        leaves: list[Tensor] = [module.weight for module in self._net.modules() if isinstance(module, nn.Embedding)]

        def with_gradient(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            leaves.append(tensor.detach().clone().requires_grad_())
            return leaves[-1].clone()  # the net may change its inputs in place, which a leaf with gradients forbids

        batch = batch.map(with_gradient)
        self._capture.start()
        if objective is not None:
            flowing = [objective.loss(self._net, batch)]
        else:
            outputs = output_tensors(self._net(*batch.arguments, **batch.named))
            flowing = [tensor for tensor in outputs if tensor.is_floating_point()]
        layers = self._capture.stop()
        self._previous = None
        if not flowing:
            raise ValueError(f"net = {type(self._net).__name__}: the output of forward has no floating-point tensor")
        flowing = [tensor for tensor in flowing if tensor.requires_grad]
        cotangents = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in flowing]
        if flowing and leaves:
            torch.autograd.grad(flowing, leaves, cotangents if objective is None else None, allow_unused=True)
        return [layer.lengths.finished(layer.name) for layer in layers]

    def _fed_by(self, name: str) -> Callable[..., None]:
        """Return a forward pre-hook that records that the layer `name` is executed."""
        return lambda module, inputs: self._ran.append(name) if self._capture.active else None

    def _measure(self, activation: Tensor) -> Reading:
        name, whole = self._capture.reading or ("", activation)  # the activation may be a view with another first axis
        values = activation.detach()
        reading = Reading(
            lengths=activation_lengths(activation),
            silent=_silent_share(values),
            variation=_variation(values.flatten(1).double()),
            samples=sample_distance(values),
            tokens=token_distance(values),
            branch=_branch_share(values, self._previous),
            largest=float(values.abs().max()),
            feeds=tuple(self._ran),
        )
        self._ran, self._previous = [], values.clone()

        def record(gradient: Tensor | None) -> None:
            if gradient is None:  # the backward pass reaches only other outputs of the module
                return
            reading.gradients = gradient_lengths(self._capture.samples.first(name, gradient)[0])

        if whole.requires_grad:
            whole.register_hook(record)
        return reading


def _pooled(steps: Sequence[Reading]) -> Reading:
    """Combine the readings of the time steps of a recurrent cell."""
    return Reading(
        lengths=torch.stack([step.lengths for step in steps]).mean(0),
        silent=min(step.silent for step in steps),
        variation=steps[-1].variation,
        samples=steps[-1].samples,
        tokens=math.nan,
        branch=math.nan,
        largest=max(step.largest for step in steps),
        feeds=tuple(dict.fromkeys(name for step in steps for name in step.feeds)),
        steps=steps,
    )


def _silent_share(activation: Tensor) -> float:
    silent = (activation == 0).reshape(len(activation), -1) if activation.dim() == 1 else activation == 0
    units = 1 if silent.dim() > 3 else silent.dim() - 1
    return float(silent.movedim(units, 0).flatten(1).all(1).double().mean())


def _branch_share(activation: Tensor, previous: Tensor | None) -> float:
    if previous is None or previous.shape != activation.shape:
        return math.nan
    whole = float(activation.double().square().sum())
    return float((activation - previous).double().square().sum()) / whole if whole > 0 else math.nan


def _variation(values: Tensor) -> float:
    if len(values) < 2:
        return math.nan
    square = float(values.square().sum(1).mean())
    return float(values.var(0).sum()) / square if square > 0 else 0.0
