"""Read lengths of activations and of gradients from one forward and backward pass, without a loss or targets."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.weights import weights_of
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.lengths.gradient_length import gradient_lengths
from start_training.lengths.layer_choice import LayerChoice, Layers


class Readings(NamedTuple):
    """Readings from one pass of one net; each list has one entry for each of layers 0 … d.

    Attributes:
        names: Names of the layers, as in `Capture`.
        lengths: ‖act‖² / width of each sample, each entry of shape (samples,); layer 0 is the input.
        gradients: Squared norm of the gradient with respect to the layer's activations for each sample, each entry of
            shape (samples,), or None if no gradient flows.
        silent: Fraction of units that are zero on every sample; a unit is a channel (axis 1) of tensors with four or
            more axes, and an entry of the last axis otherwise.
        feeds: Names of the layers with weights that were executed since the previous layer.
    """

    names: list[str]
    lengths: list[Tensor]
    gradients: list[Tensor | None]
    silent: list[float]
    feeds: list[tuple[str, ...]]


class Probe:
    """Context manager that installs hooks on a net, which `read` uses, and removes them at the end.

    `read` passes a batch forward and a random Gaussian cotangent of the outputs backward. The gradients are those of
    Σ ⟨cotangent, output⟩: they show the effect of depth on gradients, without the effect of a loss. They are read by
    hooks on the captured tensors, so that they are correct even if the next module changes these tensors in place.

    Args:
        net: The net; its innermost modules get hooks.
        layers: The layers to measure, as in `Capture`.

    Raises:
        ValueError: see `Capture`.
    """

    def __init__(self, net: nn.Module, layers: Layers | LayerChoice = "auto") -> None:
        self._net = net
        self._capture = Capture(net, layers, measure=self._measure)
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

    def read(self, arguments: Sequence[Any], named: Mapping[str, Any], generator: Generator) -> Readings:
        """Run one forward and backward pass and return its readings.

        Args:
            arguments: Positional arguments of `net.forward`.
            named: Keyword arguments of `net.forward`.
            generator: Random generator of the cotangent.

        Raises:
            ValueError: the output has no floating-point tensor.
        """
        self._readings = Readings([], [], [], [], [])
        self._ran: list[str] = []
        leaves: list[Tensor] = [module.weight for module in self._net.modules() if isinstance(module, nn.Embedding)]

        def with_gradient(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            leaves.append(tensor.detach().clone().requires_grad_())
            return leaves[-1].clone()  # the net may change its inputs in place, which a leaf with gradients forbids

        self._capture.start()
        outputs = self._net(*map_tensors(with_gradient, list(arguments)), **map_tensors(with_gradient, dict(named)))
        layers = self._capture.stop()
        self._flow_back(outputs, leaves, generator)
        names, lengths = [layer.name for layer in layers], [layer.lengths for layer in layers]
        return self._readings._replace(names=names, lengths=lengths)

    def _flow_back(self, outputs: Any, leaves: list[Tensor], generator: Generator) -> None:
        floating = [tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()]
        if not floating:
            raise ValueError(f"net = {type(self._net).__name__}: the output of forward has no floating-point tensor")
        floating = [tensor for tensor in floating if tensor.requires_grad]
        cotangents = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in floating]
        if floating and leaves:
            torch.autograd.grad(floating, leaves, cotangents, allow_unused=True)

    def _fed_by(self, name: str) -> Callable[..., None]:
        """Return a forward pre-hook that records that the layer `name` is executed."""
        return lambda module, inputs: self._ran.append(name) if self._capture.active else None

    def _measure(self, activation: Tensor) -> Tensor:
        gradients, layer = self._readings.gradients, len(self._readings.gradients)
        gradients.append(None)
        self._readings.silent.append(_silent_share(activation.detach()))
        self._readings.feeds.append(tuple(self._ran))
        self._ran = []
        name, whole = self._capture.reading or ("", activation)  # the activation may be a view with another first axis

        def record(gradient: Tensor) -> None:
            gradients[layer] = gradient_lengths(self._capture.samples.first(name, gradient)[0])

        if whole.requires_grad:
            whole.register_hook(record)
        return activation_lengths(activation)


def map_tensors(function: Callable[[Tensor], Any], values: Any) -> Any:
    """Apply `function` to every tensor in nested mappings (returned as dicts), lists and tuples."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(function, value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        mapped = [map_tensors(function, value) for value in values]
        return type(values)(*mapped) if hasattr(values, "_fields") else type(values)(mapped)
    return values


def tensors_in(values: Any) -> list[Tensor]:
    """Return all tensors in nested mappings, lists and tuples."""
    tensors: list[Tensor] = []
    map_tensors(tensors.append, values)
    return tensors


def _silent_share(activation: Tensor) -> float:
    silent = (activation == 0).reshape(len(activation), -1) if activation.dim() == 1 else activation == 0
    units = 1 if silent.dim() > 3 else silent.dim() - 1
    return float(silent.movedim(units, 0).flatten(1).all(1).double().mean())
