"""Builders of the layers of all nets: an affine map, its activation, and optional pooling and dropout."""

from collections import OrderedDict

from torch import nn

from start_training.initializers.initializer import Fans
from start_training.initializers.weights import weights_of
from start_training.models.activation import activation_named


def activated(
    name: str, affine: nn.Module, activation: str, *, dropout: float = 0.0, pooling: nn.Module | None = None
) -> nn.Sequential:
    """Build a layer: an affine map, its activation, and optional pooling and dropout, as named submodules.

    Args:
        name: Name of the submodule `affine`.
        affine: A linear layer or a convolution.
        activation: A key of `ACTIVATIONS`, for the submodule `activation`.
        dropout: Probability of dropping a unit; if it is above 0, the last submodule is `dropout`.
        pooling: Module for the submodule `pooling`, between activation and dropout; None for no pooling.

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
    """Build a layer with a linear map from fan_in to fan_out units, an activation and optional dropout."""
    return activated("linear", nn.Linear(fan_in, fan_out), activation, dropout=dropout)


def fans_within(module: nn.Module) -> list[Fans]:
    """Return the fan-in and fan-out of every weight inside a module."""
    return [weight.fans for weight in weights_of(module)]
