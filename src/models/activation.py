"""The activations a net can be built with, by name, and those that theory has closed forms for."""

from typing import Annotated

from torch import nn

from start_training.settings import OneOf, checked
from start_training.theory.activation import ACTIVATIONS as IN_THEORY
from start_training.theory.activation import Homogeneous

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "linear": nn.Identity,
}
ActivationName = Annotated[str, OneOf(ACTIVATIONS)]

# Those with φ(c z) = c φ(z) for c > 0; the lengths of a net with any other depend on the scale of its input.
HOMOGENEOUS = {name: phi for name, phi in IN_THEORY.items() if isinstance(phi, Homogeneous)}


@checked
def activation_named(activation: ActivationName) -> nn.Module:
    """A new activation module.

    Args:
        activation: A key of `ACTIVATIONS`.

    Raises:
        ValueError: there is no activation of this name.

    Example:
        >>> activation_named("relu")
        ReLU()
    """
    return ACTIVATIONS[activation]()
