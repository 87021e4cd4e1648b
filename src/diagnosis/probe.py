"""Read lengths forward and gradients backward off one pass of a net, without a loss or targets."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.initialize import LAYERS
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.lengths.gradient_length import gradient_lengths


class Readings(NamedTuple):
    """Of one net, an entry for each of layers 0 … d.

    lengths: (samples,). gradients: (samples,), None where nothing flows back. silent: share of units that are zero on
    every sample, a unit being a channel (axis 1 of four or more) or else an entry of the last axis. feeds: the dense
    and convolutional layers that ran since the layer before.
    """

    names: list[str]
    lengths: list[Tensor]
    gradients: list[Tensor | None]
    silent: list[float]
    feeds: list[tuple[str, ...]]


class Probe:
    """Hooks on a net; `read` passes a batch forward and a random Gaussian cotangent of the outputs backward.

    The gradient is that of Σ ⟨cotangent, output⟩: what depth does to gradients, without what a loss does to them. It
    is read by hooks on the captured tensors, right also where the next module changes them in place. A context; the
    hooks go at its end. Raises ValueError as `Capture` does.
    """

    def __init__(self, net: nn.Module, patterns: Sequence[str] | None = None) -> None:
        self._net = net
        self._capture = Capture(net, patterns, measure=self._measure)
        self._handles = [
            module.register_forward_pre_hook(self._fed_by(name))
            for name, module in net.named_modules()
            if isinstance(module, LAYERS)
        ]

    def __enter__(self) -> "Probe":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._capture.remove()
        for handle in self._handles:
            handle.remove()

    def read(self, arguments: Sequence[Any], named: Mapping[str, Any], generator: Generator) -> Readings:
        """One pass. Raises ValueError for an output without floating-point tensor, or where nothing was read."""
        self._gradients: list[Tensor | None] = []
        self._silent: list[float] = []
        self._feeds: list[tuple[str, ...]] = []
        self._ran: list[str] = []
        leaves: list[Tensor] = [module.weight for module in self._net.modules() if isinstance(module, nn.Embedding)]

        def with_gradient(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            leaves.append(tensor.detach().clone().requires_grad_())
            return leaves[-1].clone()  # a leaf that requires gradients cannot be changed in place

        self._capture.start()
        outputs = self._net(*map_tensors(with_gradient, list(arguments)), **map_tensors(with_gradient, dict(named)))
        readings = self._capture.stop()
        self._flow_back(outputs, leaves, generator)
        names, lengths = [reading.name for reading in readings], [reading.lengths for reading in readings]
        return Readings(names, lengths, self._gradients, self._silent, self._feeds)

    def _flow_back(self, outputs: Any, leaves: list[Tensor], generator: Generator) -> None:
        floating: list[Tensor] = []
        map_tensors(lambda tensor: floating.append(tensor) if tensor.is_floating_point() else None, outputs)
        if not floating:
            raise ValueError(f"net = {type(self._net).__name__}: its output holds no floating-point tensor")
        floating = [tensor for tensor in floating if tensor.requires_grad]
        cotangents = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in floating]
        if floating and leaves:
            torch.autograd.grad(floating, leaves, cotangents, allow_unused=True)

    def _fed_by(self, name: str) -> Callable[..., None]:
        return lambda module, inputs: self._ran.append(name) if self._capture.active else None

    def _measure(self, activation: Tensor) -> Tensor:
        layer = len(self._gradients)
        self._gradients.append(None)
        self._silent.append(_silent_share(activation.detach()))
        self._feeds.append(tuple(self._ran))
        self._ran = []
        if activation.requires_grad:
            activation.register_hook(lambda gradient: self._keep(layer, gradient))
        return activation_lengths(activation)

    def _keep(self, layer: int, gradient: Tensor) -> None:
        self._gradients[layer] = gradient_lengths(gradient)


def map_tensors(function: Callable[[Tensor], Any], values: Any) -> Any:
    """The same nested dicts, lists and tuples with each tensor replaced by `function` of it."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(function, value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        mapped = [map_tensors(function, value) for value in values]
        return type(values)(*mapped) if hasattr(values, "_fields") else type(values)(mapped)
    return values


def _silent_share(activation: Tensor) -> float:
    silent = (activation == 0).reshape(len(activation), -1) if activation.dim() == 1 else activation == 0
    units = 1 if silent.dim() > 3 else silent.dim() - 1
    return float(silent.movedim(units, 0).flatten(1).all(1).double().mean())
