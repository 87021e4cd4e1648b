"""What the layers of all nets are made of: an affine map, its activation, and what follows it."""

from collections import OrderedDict

from torch import nn

from start_training.initializers.initializer import Fans
from start_training.models.activation import activation_named


def activated(
    name: str, affine: nn.Module, activation: str, *, dropout: float = 0.0, pooling: nn.Module | None = None
) -> nn.Sequential:
    """An affine map and the modules that follow it, as submodules with names that are the same in every net.

    Args:
        name: The name of the affine map.
        affine: A linear layer or a convolution.
        activation: A key of `ACTIVATIONS`; the submodule is called `activation`.
        dropout: Probability of dropping a unit, by the last submodule `dropout`; there is none where it is 0.
        pooling: The submodule `pooling`, between activation and dropout.

    Example:
        >>> [name for name, _ in activated("linear", nn.Linear(3, 2), "relu", dropout=0.1).named_children()]
        ['linear', 'activation', 'dropout']
    """
    parts = OrderedDict({name: affine, "activation": activation_named(activation)})
    if pooling is not None:
        parts["pooling"] = pooling
    if dropout > 0:
        parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(parts)


def dense_layer(fan_in: int, fan_out: int, activation: str, dropout: float) -> nn.Sequential:
    """`activated` with a linear layer from fan_in to fan_out units, which is called `linear`."""
    return activated("linear", nn.Linear(fan_in, fan_out), activation, dropout=dropout)


def fans_within(module: nn.Module) -> list[Fans]:
    """The fans of every linear layer and 2D convolution inside a module, in the order of `modules()`."""
    return [Fans.of(layer.weight) for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
