"""A change of the initialization of a net, which a diagnosis tries on copies and recommends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from start_training.initializers.initialize import layers_of


@dataclass(frozen=True)
class Change:
    """A change of an initialized net: the weights of some layers are multiplied by factors.

    Attributes:
        factors: Factor of the weights, by the name of a dense or convolutional layer.
        zero_biases: Whether the biases of these layers are set to zero as well.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    zero_biases: bool = False

    @torch.no_grad()
    def apply_(self, net: nn.Module) -> None:
        """Apply the change to the weights and biases of an initialized net in place."""
        layers = layers_of(net)
        for name, factor in self.factors.items():
            weight, bias = layers[name].weight, layers[name].bias
            assert isinstance(weight, Tensor)
            weight.mul_(factor)
            if self.zero_biases and isinstance(bias, Tensor):
                bias.zero_()

    def then(self, other: "Change") -> "Change":
        """Return this change followed by another one, as a single change."""
        names = {**self.factors, **other.factors}
        factors = {name: self.factors.get(name, 1.0) * other.factors.get(name, 1.0) for name in names}
        return Change(factors, self.zero_biases or other.zero_biases)
