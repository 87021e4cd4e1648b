"""Measure for each layer of a net where it lies between order and chaos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.initializers.initializer import Fans
from start_training.initializers.weight_matrix import Weight
from start_training.initializers.weights import readout_of, weights_of
from start_training.models.activation import ACTIVATIONS
from start_training.order_chaos.asymptotics import Asymptotics, asymptotics

ELEMENTWISE = (
    *ACTIVATIONS.values(), nn.ELU, nn.SELU, nn.CELU, nn.Mish, nn.ReLU6, nn.Hardtanh, nn.Sigmoid, nn.Softplus,
    nn.Softsign,
)  # fmt: skip

# These activations are odd and have their largest slope, 1, at 0, so that the edge of chaos without a mean is at J = 1.
EDGE_AT_1 = (nn.Tanh, nn.Hardtanh, nn.Softsign, nn.Identity)


class LayerPhase(NamedTuple):
    """Coordinates of a layer in the phase diagram: J0 = N · mean(W) and J = √N · std(W), where N is the fan-in."""

    J0: float
    J: float

    @property
    def J2(self) -> float:
        """J² = fan_in · Var W, which grows linearly with training time in the ordered phase."""
        return self.J**2


@torch.no_grad()
def layer_phase(weight: Tensor, fan_in: float | None = None) -> LayerPhase:
    """Compute J0 and J of a layer from its weight.

    Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437), where W is square; for other layers J² is fan_in · Var W,
    the `kappa` of their weights.

    Args:
        weight: Shape (units out, units in, *kernel).
        fan_in: The fan-in N; None: units in times the size of the kernel.

    Returns:
        J0 and J, computed in float64. The standard deviation is that of all entries of the weight, with ddof 0.

    Example:
        >>> round(layer_phase(torch.eye(4)).J0, 6)
        1.0
    """
    fan_in = Fans.of(weight).fan_in if fan_in is None else fan_in
    variance, mean = torch.var_mean(weight.double(), correction=0)
    return LayerPhase(fan_in * float(mean), math.sqrt(fan_in * float(variance)))


@dataclass(frozen=True)
class PhasedLayer:
    """A layer of a net, or a part of it with a weight matrix of its own.

    Args:
        source: Where its weight is.
        activation: The activation applied to its output; None if that is unknown.
    """

    source: Weight
    activation: nn.Module | None

    @property
    def name(self) -> str:
        """The layer's name in the net, followed by that of the part."""
        return self.source.name

    @property
    def weight(self) -> Tensor:
        """The weights with which the layer computes, shape (units out, units in, *kernel), of all groups or experts."""
        return self.source.matrices().flatten(0, 1)

    @property
    def bias(self) -> Tensor | None:
        """The layer's biases; None if it has none."""
        bias = self.source.bias_parameter
        return None if bias is None else self.source.biases(bias)

    @property
    def square(self) -> bool:
        """Whether the layer is dense with as many outputs as inputs, so that its output can be fed back as input."""
        matrices = self.source.matrices()
        return len(matrices) == 1 and matrices.dim() == 3 and matrices.shape[1] == matrices.shape[2]

    @property
    def edge_at_1(self) -> bool:
        """Whether J = 1 separates order from chaos, as for tanh; True if the activation is unknown."""
        return self.activation is None or isinstance(self.activation, EDGE_AT_1)


def phased_layers(net: nn.Module, activation: nn.Module | None = None) -> list[PhasedLayer]:
    """List the weights of every layer of a net except the readout, in the net's order.

    Args:
        net: The net.
        activation: The activation to assume for layers that no activation module follows in an `nn.Sequential`; None
            if it is unknown.
    """
    readout, following = readout_of(net), _following(net)
    return [
        PhasedLayer(weight, following.get(weight.module, activation))
        for weight in weights_of(net)
        if weight.module is not readout
    ]


def measure_phases(layers: Sequence[PhasedLayer], *, iterations: int, starts: int) -> list[dict[str, Any]]:
    """Measure the phase of each layer, and the Jacobian and Lyapunov exponent of the layer iterated on itself.

    Args:
        layers: Layers of one net.
        iterations: Number of iterations of x ← φ(W x + b) (see `asymptotics`).
        starts: Number of random start states x.

    Returns:
        One dict per layer with the keys fan_in, fan_out, J0, J, J2, bias_variance (0 without biases), jacobian and
        lyapunov. The last two are NaN if the layer is not square or its activation is unknown.
    """
    of_maps = _of_maps(layers, iterations, starts)
    return [
        {**_weights(layer), "jacobian": jacobian, "lyapunov": lyapunov}
        for layer, (jacobian, lyapunov) in zip(layers, of_maps, strict=True)
    ]


def _weights(layer: PhasedLayer) -> dict[str, Any]:
    fans, bias = layer.source.fans, layer.bias
    phase = layer_phase(layer.weight, fans.fan_in)
    variance = 0.0 if bias is None else float(bias.detach().double().var(correction=0))
    numbers = {"J0": phase.J0, "J": phase.J, "J2": phase.J2, "bias_variance": variance}
    return {"fan_in": fans.fan_in, "fan_out": fans.fan_out, **numbers}


def _of_maps(layers: Sequence[PhasedLayer], iterations: int, starts: int) -> list[tuple[float, float]]:
    by_layer = [(math.nan, math.nan)] * len(layers)
    maps = [(_kind(layer), index) for index, layer in enumerate(layers) if layer.square and layer.activation]
    for _, group in groupby(sorted(maps), key=lambda pair: pair[0]):
        indices = [index for _, index in group]
        numbers = _iterated([layers[index] for index in indices], iterations, starts)
        for index, jacobian, lyapunov in zip(indices, *(values.tolist() for values in numbers), strict=True):
            by_layer[index] = jacobian, lyapunov
    return by_layer


def _kind(layer: PhasedLayer) -> str:
    """Return a key that is equal for layers that can be iterated together in one batch."""
    return f"{tuple(layer.weight.shape)} {layer.weight.device} {layer.bias is None} {layer.activation}"


def _iterated(layers: Sequence[PhasedLayer], iterations: int, starts: int) -> Asymptotics:
    biases = [bias for layer in layers if (bias := layer.bias) is not None]
    weights, activation = torch.stack([layer.weight.detach() for layer in layers]), layers[0].activation
    assert activation is not None
    bias = torch.stack(biases).detach() if biases else None
    return asymptotics(weights, bias, activation=activation, iterations=iterations, starts=starts)


def _following(net: nn.Module) -> dict[nn.Module, nn.Module]:
    """Map each layer to the elementwise activation that comes directly after it in an `nn.Sequential`."""
    chains = [list(module.children()) for module in net.modules() if isinstance(module, nn.Sequential)]
    pairs = (pair for chain in chains for pair in pairwise(chain))
    return {layer: after for layer, after in pairs if isinstance(after, ELEMENTWISE)}
