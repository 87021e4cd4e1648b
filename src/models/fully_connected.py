"""A fully connected net with hidden layers of given widths and a linear readout."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Initializer
from start_training.models.activation import HOMOGENEOUS, ActivationName
from start_training.models.layer import dense_layer, fans_within
from start_training.settings import Fraction, PositiveInteger, checked, positive_integer
from start_training.theory.fully_connected import FullyConnectedLaw


class FullyConnected(nn.Module):
    """A fully connected net act_j = φ(W_j act_{j−1} + b_j) for layers j = 1 … d, with logits = W act_d + b.

    Inputs of any shape (samples, …) are flattened; logits have shape (samples, classes). Lengths are measured after
    each activation, before dropout.

    Args:
        input_size: Number of values of one input.
        classes: Number of outputs: of classes, or of the numbers or labels of another task.
        depth: Number of hidden layers, all with `width` units.
        width: Units of each hidden layer.
        widths: List of the units of each hidden layer, which replaces depth and width.
        activation: Name of φ, a key of `ACTIVATIONS`.
        dropout: Probability of dropping a unit after each activation.

    Raises:
        ValueError: a setting has a value that is not allowed, or without widths, depth or width is not given.
    """

    @checked
    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        depth: int | None = None,
        width: int | None = None,
        widths: Sequence[PositiveInteger] | None = None,
        activation: ActivationName = "relu",
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        if widths is None:
            widths = [positive_integer("width", width)] * positive_integer("depth", depth)
        self.widths = [*widths]
        self.activation = activation
        self.dropout = dropout
        sizes = [input_size, *widths]
        self.hidden = nn.Sequential(*(dense_layer(*fans, activation, dropout) for fans in pairwise(sizes)))
        self.readout = nn.Linear(sizes[-1], classes)
        self.flatten = nn.Flatten()
        self.measured_input = "flatten"
        self.measured_layers = [f"hidden.{j}.activation" for j in range(len(widths))]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.hidden(self.flatten(inputs)))

    @staticmethod
    def unused_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return which of the settings have no effect, with the reason: depth and width beside the list `widths`."""
        widths = settings.get("widths")
        if not isinstance(widths, list):
            return {}
        unused = {
            "depth": settings.get("depth") != len(widths),
            "width": any(width != settings.get("width") for width in widths),
        }
        return {name: f"with model.widths = {widths}" for name, differs in unused.items() if differs}

    def law(self, initializer: Initializer) -> FullyConnectedLaw | None:
        """Return theory's predictions for this net at initialization, or None if the activation is not homogeneous."""
        if self.activation not in HOMOGENEOUS:
            return None
        fans = fans_within(self.hidden)
        return FullyConnectedLaw(
            fan_ins=np.array([layer.fan_in for layer in fans], dtype=np.float64),
            widths=np.array(self.widths, dtype=np.float64),
            activation=HOMOGENEOUS[self.activation],
            orthogonal=not initializer.independent,
            dropout=self.dropout,
            **initializer.moments(fans),
        )
