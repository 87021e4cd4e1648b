"""A residual net: modules that add a scaled fully connected net to what they are given."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from start_training.initializers.initializer import Initializer
from start_training.models.activation import ACTIVATIONS, HOMOGENEOUS
from start_training.models.fully_connected import dense_fans, dense_layer
from start_training.models.residual_scales import residual_scales
from start_training.settings import fraction, one_of, positive_integer
from start_training.theory.activation import LINEAR
from start_training.theory.residual import ResidualLaw


class ResidualModule(nn.Module):
    """act + eta · N(act), N a fully connected net through `widths` and back to the size of act."""

    def __init__(
        self, size: int, widths: Sequence[int], *, eta: float, activation: str, ending: str, dropout: float
    ) -> None:
        super().__init__()
        self.eta = eta
        sizes = [size, *widths, size]
        activations = [activation] * len(widths) + [activation if ending == "relu" else "linear"]
        self.layers = nn.Sequential(
            *(
                dense_layer(fan_in, fan_out, phi, dropout)
                for fan_in, fan_out, phi in zip(sizes, sizes[1:], activations, strict=False)
            )
        )

    def forward(self, activation: Tensor) -> Tensor:
        return activation + self.eta * self.layers(activation)


class Residual(nn.Module):
    """act_l = act_{l−1} + eta_l N_l(act_{l−1}) for l = 1 … L, then logits = W act_L + b.

    act_0 is the input, embedded by a linear layer only where its size is not `width`. Each N_l is
    a fully connected net width → module_widths → width; it ends in the net's activation
    (`ending=relu`) or in a linear layer (`ending=linear`). `scales` and its parameters `eta`,
    `base`, `exponent`: see `residual_scales`. What is measured is each module's output, after the addition.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3.
    Raises ValueError for counts, widths or scales that are not positive, or a list of the wrong length.
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        modules: int,
        width: int,
        module_widths: Sequence[int] = (),
        scales: str | Sequence[float] = "geometric",
        eta: float = 1.0,
        base: float = 0.9,
        exponent: float = 1.0,
        ending: str = "relu",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = positive_integer("width", width)
        self.module_widths = _checked_module_widths(module_widths)
        self.scales = residual_scales(scales, modules, eta=eta, base=base, exponent=exponent)
        self.activation = one_of("activation", activation, ACTIVATIONS)
        self.ending = one_of("ending", ending, ("relu", "linear"))
        self.dropout = fraction("dropout", dropout)
        self.embedding = nn.Identity() if input_size == width else nn.Linear(input_size, width)
        self.residual_modules = nn.ModuleList(
            ResidualModule(width, self.module_widths, eta=eta_l, activation=activation, ending=ending, dropout=dropout)
            for eta_l in self.scales
        )
        self.readout = nn.Linear(width, classes)
        self.measured_input = "embedding"
        self.measured_layers = [f"residual_modules.{layer}" for layer in range(len(self.scales))]

    def forward(self, inputs: Tensor) -> Tensor:
        activation = self.embedding(inputs.flatten(1))
        for module in self.residual_modules:
            activation = module(activation)
        return self.readout(activation)

    def law(self, initializer: Initializer) -> ResidualLaw | None:
        """What theory knows of this net at initialization.

        None where the activation is not homogeneous, or with dropout, which the recursions leave out.
        """
        if self.activation not in HOMOGENEOUS or self.dropout > 0:
            return None
        fans = dense_fans(self.residual_modules[0])
        return ResidualLaw(
            scales=np.array(self.scales, dtype=np.float64),
            width=self.width,
            module_widths=tuple(self.module_widths),
            kappas=initializer.kappas(fans),
            bias_variances=initializer.bias_variances(fans),
            kurtosis=initializer.kurtoses(fans),
            activation=HOMOGENEOUS[self.activation],
            ending=HOMOGENEOUS[self.activation] if self.ending == "relu" else LINEAR,
            orthogonal=not initializer.independent,
        )


def _checked_module_widths(widths: Sequence[int]) -> list[int]:
    if not isinstance(widths, Sequence) or isinstance(widths, str):
        raise ValueError(f"module_widths = {widths!r}: must be a list of widths, which may be empty")
    return [positive_integer("module_widths", width) for width in widths]
