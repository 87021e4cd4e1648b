"""The fastest sampler, for fully connected and residual nets: compute a chunk of nets at once, layer by layer.

The weights of one layer of all nets of a chunk are drawn into one buffer, which the next layer reuses. The readout is
neither measured nor drawn.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from start_training.ensembles.scaled import Array, Scaled, to_numpy
from start_training.initializers.choice import choose
from start_training.initializers.drawing import FillTensor, fill_biases_, fill_many_
from start_training.initializers.initializer import Fans, Initializer
from start_training.models.activation import HOMOGENEOUS
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual, ResidualModule

# Weights of one layer of a chunk: on a CPU 512 KiB, which fit into the cache of a core; on a GPU enough to occupy it.
CHUNK_WEIGHTS = {"cpu": 2**17, "cuda": 2**26}
LARGEST_CHUNK = 512  # nets; the last chunk is sampled as a whole, and smaller chunks waste less there


def supports(net: nn.Module) -> bool:
    """Return whether this sampler supports the net: a FullyConnected or Residual net without dropout.

    All its weights have to be drawn, as parameters of dense layers.
    """
    if type(net) not in (FullyConnected, Residual) or net.dropout:  # the forward pass of a subclass may differ
        return False
    choice = choose(net)
    return not choice.left and all(type(weight.module) is nn.Linear for weight in choice.drawn)


def chunk_size(net: nn.Module, device: str = "cpu") -> int:
    """Return the number of nets to sample at once, between 1 and `LARGEST_CHUNK`."""
    choice = choose(net)
    largest = max(weight.matrices().numel() for weight in choice.drawn if weight.module is not choice.readout)
    return min(max(CHUNK_WEIGHTS[torch.device(device).type] // largest, 1), LARGEST_CHUNK)


@torch.no_grad()
def sample_layerwise(net: nn.Module, initializer: FillTensor, inputs: Tensor, *, generator: Generator) -> Array:
    """Sample log M_0 … log M_d of independently initialized nets, with the same distribution as `sample_reference`.

    Activations of homogeneous nets are rescaled (see `Scaled`), so that they do not overflow at any depth: with the
    unit u, z = W act + b becomes z/u = W (act/u) + b/u.

    Args:
        net: A net that `supports` accepts; only its architecture is used, not its weights.
        initializer: Initializer of the weights, as in `initialize_`.
        inputs: Inputs of each net, shape (nets, samples, …).
        generator: Source of all random numbers.

    Returns:
        Shape (nets, d + 1); log of the mean length over the samples of a net, −inf for a dead layer.
    """
    draw = _Draw(initializer, generator, homogeneous=net.activation in HOMOGENEOUS)
    activation = Scaled(inputs.flatten(2), inputs.new_zeros(inputs.shape[:2], dtype=torch.float64))
    if isinstance(net, Residual):
        if isinstance(net.embedding, nn.Linear):
            activation = draw.linear(activation, net.embedding)
        return to_numpy(_residual(net, draw, activation))
    assert isinstance(net, FullyConnected)
    return to_numpy(_fully_connected(net, draw, activation))


def _fully_connected(net: FullyConnected, draw: "_Draw", activation: Scaled) -> list[Tensor]:
    lengths = [activation.log_lengths()]
    for layer in net.hidden:
        activation, length = _measured(net, draw.dense_layer(activation, layer))
        lengths.append(length)
    return lengths


def _residual(net: Residual, draw: "_Draw", activation: Scaled) -> list[Tensor]:
    lengths = [activation.log_lengths()]
    for module in net.residual_modules:
        assert isinstance(module, ResidualModule)
        update = activation
        for layer in module.layers:
            update, _ = _measured(net, draw.dense_layer(update, layer))
        activation, length = _measured(net, activation.plus(update, module.eta))
        lengths.append(length)
    return lengths


def _measured(net: FullyConnected | Residual, activation: Scaled) -> tuple[Scaled, Tensor]:
    """Return the activation, normalized if the net is homogeneous, and its log lengths."""
    if net.activation in HOMOGENEOUS:
        return activation.normalized()
    return activation, activation.log_lengths()


@dataclass
class _Draw:
    """Draws the weights of a chunk of nets, one layer after the other, into a buffer that all layers share."""

    initializer: FillTensor
    generator: Generator
    homogeneous: bool  # whether activations may be rescaled
    _buffer: Tensor = field(default_factory=lambda: torch.empty(0))

    def dense_layer(self, activation: Scaled, layer: nn.Module) -> Scaled:
        """Return φ(W act + b) with weights and biases drawn for each net."""
        linear = layer.get_submodule("linear")
        assert isinstance(linear, nn.Linear)
        outputs = self.linear(activation, linear)
        return Scaled(layer.get_submodule("activation")(outputs.values), outputs.log_unit)

    def linear(self, activation: Scaled, linear: nn.Linear) -> Scaled:
        """Return W act + b with weights and biases drawn for each net."""
        weights = self._weights(len(activation.values), linear)
        fans = Fans.of(linear.weight)
        values, log_unit = activation
        bias = self._biases(len(values), linear, fans)
        if bias is not None and self.homogeneous:
            # Biases divided by a unit far below their standard deviation would overflow, so the unit is at least that
            # large; a dead activation is 0 in any unit.
            assert isinstance(self.initializer, Initializer)
            floor = math.log(self.initializer.bias_variance(fans)) / 2
            unit = log_unit.clamp(min=floor)
            values, log_unit = activation.in_units(unit), unit
        outputs = values @ weights.mT
        if bias is not None:
            outputs += bias.unsqueeze(1) * torch.exp(-log_unit).to(bias.dtype).unsqueeze(-1)
        return Scaled(outputs, log_unit)

    def _weights(self, nets: int, linear: nn.Linear) -> Tensor:
        shape = (nets, *linear.weight.shape)
        if self._buffer.numel() < math.prod(shape):
            self._buffer = torch.empty(math.prod(shape), dtype=linear.weight.dtype, device=self.generator.device)
        weights = self._buffer[: math.prod(shape)].view(shape)
        fill_many_(weights, self.initializer, self.generator)
        return weights

    def _biases(self, nets: int, linear: nn.Linear, fans: Fans) -> Tensor | None:
        if not isinstance(self.initializer, Initializer) or not self.initializer.bias_variance(fans):
            return None
        biases = torch.empty(nets, linear.out_features, dtype=linear.weight.dtype, device=self.generator.device)
        fill_biases_(biases, fans, self.initializer, self.generator)
        return biases
