"""A fully connected net: hidden layers of given widths and a linear readout."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Fans, Initializer
from start_training.models.activation import HOMOGENEOUS, activation_named
from start_training.settings import fraction, positive_integer
from start_training.theory.fully_connected import FullyConnectedLaw


class FullyConnected(nn.Module):
    """act_j = φ(W_j act_{j−1} + b_j) for j = 1 … d, then logits = W act_d + b.

    Built from `depth` equal hidden layers of `width`, or from the list `widths`, which wins where
    both are given. Inputs of any shape (samples, …) are flattened; logits are (samples, classes).
    Dropout follows each activation; lengths are measured before it.
    Raises ValueError for a depth, width or list of widths that is not positive.
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        depth: int | None = None,
        width: int | None = None,
        widths: Sequence[int] | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.widths = _checked_widths(depth, width, widths)
        self.activation = activation
        self.dropout = fraction("dropout", dropout)
        sizes = [input_size, *self.widths]
        self.hidden = nn.ModuleList(
            dense_layer(fan_in, fan_out, activation, self.dropout) for fan_in, fan_out in pairwise(sizes)
        )
        self.readout = nn.Linear(sizes[-1], classes)
        self.flatten = nn.Flatten()
        self.measured_input = "flatten"
        self.measured_layers = [f"hidden.{j}.activation" for j in range(len(self.widths))]

    def forward(self, inputs: Tensor) -> Tensor:
        activation = self.flatten(inputs)
        for layer in self.hidden:
            activation = layer(activation)
        return self.readout(activation)

    def law(self, initializer: Initializer) -> FullyConnectedLaw | None:
        """What theory knows of this net at initialization; None where the activation is not homogeneous."""
        if self.activation not in HOMOGENEOUS:
            return None
        fans = dense_fans(self.hidden)
        return FullyConnectedLaw(
            fan_ins=np.array([layer.fan_in for layer in fans], dtype=np.float64),
            widths=np.array(self.widths, dtype=np.float64),
            kappas=initializer.kappas(fans),
            bias_variances=initializer.bias_variances(fans),
            kurtosis=initializer.kurtoses(fans),
            activation=HOMOGENEOUS[self.activation],
            orthogonal=not initializer.independent,
            dropout=self.dropout,
        )


def dense_layer(fan_in: int, fan_out: int, activation: str, dropout: float) -> nn.Sequential:
    """Linear, activation, and dropout where there is any, under these names."""
    layer = nn.Sequential()
    layer.add_module("linear", nn.Linear(fan_in, fan_out))
    layer.add_module("activation", activation_named(activation))
    if dropout > 0:
        layer.add_module("dropout", nn.Dropout(dropout))
    return layer


def dense_fans(layers: nn.Module) -> list[Fans]:
    """The fans of each dense layer within, in order."""
    return [Fans.of(module.weight) for module in layers.modules() if isinstance(module, nn.Linear)]


def _checked_widths(depth: int | None, width: int | None, widths: Sequence[int] | None) -> list[int]:
    if widths is None:
        return [positive_integer("width", width)] * positive_integer("depth", depth)
    if not isinstance(widths, Sequence) or isinstance(widths, str) or len(widths) == 0:
        raise ValueError(f"widths = {widths!r}: must be a list with at least one width")
    return [positive_integer("widths", width) for width in widths]
