"""A residual net whose modules add a scaled fully connected net to their input."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Initializer
from start_training.models.activation import HOMOGENEOUS, ActivationName
from start_training.models.layer import dense_layer, fans_within
from start_training.models.residual_scales import residual_scales, unused_scales
from start_training.models.sizes import LayerSizes
from start_training.settings import Fraction, OneOf, PositiveInteger, PositiveNumber, checked
from start_training.theory.activation import LINEAR
from start_training.theory.residual import ResidualLaw


class ResidualModule(nn.Module):
    """A residual module act + eta · N(act), where N is a fully connected net whose output has the size of act.

    Args:
        size: Number of units of act.
        widths: Units of the hidden layers of N; may be empty.
        activations: Names of the activations of all layers of N.
        eta: The residual scale.
        dropout: Probability of dropping a unit after each activation.
    """

    def __init__(
        self, size: int, widths: Sequence[int], activations: Sequence[str], *, eta: float, dropout: float
    ) -> None:
        super().__init__()
        self.eta = eta
        sizes = zip(pairwise([size, *widths, size]), activations, strict=True)
        self.layers = nn.Sequential(*(dense_layer(*fans, phi, dropout) for fans, phi in sizes))

    def forward(self, activation: Tensor) -> Tensor:
        return activation + self.eta * self.layers(activation)


class Residual(nn.Module):
    """A residual net act_l = act_{l−1} + eta_l N_l(act_{l−1}) for modules l = 1 … L, with logits = W act_L + b.

    act_0 is the flattened input, embedded by a linear layer if its size is not `width`. Each N_l is a fully connected
    net width → module_widths → width. Lengths are measured at each module's output, after the addition.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3.

    Args:
        input_size: Number of values of one input.
        classes: Number of outputs: of classes, or of the numbers or labels of another task.
        modules: Number of modules L.
        width: Units of the input and the output of each module.
        module_widths: Units of the hidden layers inside each module; may be empty.
        scales: Schedule of eta_l, or a list of L scales; see `residual_scales`.
        eta: See `residual_scales`.
        base: See `residual_scales`.
        exponent: See `residual_scales`.
        ending: Last layer of each N_l: `relu` for one with the net's activation, `linear` for one without.
        activation: Name of the activation, a key of `ACTIVATIONS`.
        dropout: Probability of dropping a unit after each activation.

    Raises:
        ValueError: a setting has a value that is not allowed, or scales is a list without exactly L entries.
    """

    @checked
    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        modules: PositiveInteger,
        width: PositiveInteger,
        module_widths: LayerSizes = (),
        scales: str | Sequence[float] = "geometric",
        eta: PositiveNumber = 1.0,
        base: PositiveNumber = 0.9,
        exponent: PositiveNumber = 1.0,
        ending: Annotated[str, OneOf(("relu", "linear"))] = "relu",
        activation: ActivationName = "relu",
        dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.module_widths = [*module_widths]
        self.scales = residual_scales(scales, modules, eta=eta, base=base, exponent=exponent)
        self.activation = activation
        self.ending = ending
        self.dropout = dropout
        self.embedding = nn.Identity() if input_size == width else nn.Linear(input_size, width)
        activations = [activation] * len(module_widths) + [activation if ending == "relu" else "linear"]
        self.residual_modules = nn.Sequential(
            *(ResidualModule(width, module_widths, activations, eta=eta, dropout=dropout) for eta in self.scales)
        )
        self.readout = nn.Linear(width, classes)
        self.measured_input = "embedding"
        self.measured_layers = [f"residual_modules.{layer}" for layer in range(modules)]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.readout(self.residual_modules(self.embedding(inputs.flatten(1))))

    @staticmethod
    def unused_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return which of the settings have no effect, with the reason: those of other schedules of `scales`."""
        return unused_scales(settings.get("scales"))

    def law(self, initializer: Initializer) -> ResidualLaw | None:
        """Return theory's predictions for this net at initialization.

        Args:
            initializer: Initializer of the net's weights.

        Returns:
            The law, or None if the activation is not homogeneous, or with dropout.
        """
        if self.activation not in HOMOGENEOUS or self.dropout > 0:
            return None
        fans = fans_within(self.residual_modules[0])
        return ResidualLaw(
            scales=np.array(self.scales, dtype=np.float64),
            width=self.width,
            module_widths=tuple(self.module_widths),
            activation=HOMOGENEOUS[self.activation],
            ending=HOMOGENEOUS[self.activation] if self.ending == "relu" else LINEAR,
            orthogonal=not initializer.independent,
            **initializer.moments(fans),
        )
