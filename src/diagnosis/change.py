"""A change of a net's initialization that can be tried on copies."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from start_training.initializers.initialize import layers_of


@dataclass(frozen=True)
class Change:
    """Multiply the weights of some layers by factors.

    Attributes:
        factors: By the name of a dense or convolutional layer.
        zero_biases: Whether to set the biases of those layers to zero as well.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    zero_biases: bool = False

    @torch.no_grad()
    def apply_(self, net: nn.Module) -> None:
        """Change a net in place, after it has been initialized."""
        layers = layers_of(net)
        for name, factor in self.factors.items():
            weight, bias = layers[name].weight, layers[name].bias
            assert isinstance(weight, Tensor)
            weight.mul_(factor)
            if self.zero_biases and isinstance(bias, Tensor):
                bias.zero_()

    def then(self, other: "Change") -> "Change":
        """This change followed by the other, as one change."""
        names = {**self.factors, **other.factors}
        factors = {name: self.factors.get(name, 1.0) * other.factors.get(name, 1.0) for name in names}
        return Change(factors, self.zero_biases or other.zero_biases)
