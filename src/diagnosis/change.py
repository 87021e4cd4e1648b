"""A change of the initialization of a net, which a diagnosis tries on copies and recommends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from start_training.initializers.weights import weights_of


@dataclass(frozen=True)
class Change:
    """A change of an initialized net: the weights of some layers are multiplied by factors.

    Attributes:
        factors: Factor of the weights, by the name of their layer.
        zero_biases: Whether the biases of these layers are set to zero as well.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    zero_biases: bool = False

    @torch.no_grad()
    def apply_(self, net: nn.Module) -> None:
        """Apply the change to the weights and biases of an initialized net in place."""
        changed = set[object]()
        for weight in weights_of(net):
            key = (*map(id, weight.stored), weight.layout.part)  # layers may share a weight, which is changed once
            if weight.layer not in self.factors:
                continue
            if key not in changed:
                weight.scale_(self.factors[weight.layer])
            changed.add(key)
            if self.zero_biases and (bias := weight.bias_parameter) is not None:
                bias.zero_()

    def then(self, other: "Change") -> "Change":
        """Return this change followed by another one, as a single change."""
        names = {**self.factors, **other.factors}
        factors = {name: self.factors.get(name, 1.0) * other.factors.get(name, 1.0) for name in names}
        return Change(factors, self.zero_biases or other.zero_biases)
