"""Activation modules by name, and the activations for which theory has closed forms."""

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

# Activations with φ(c z) = c φ(z) for c > 0. With any other activation lengths depend on the scale of the input.
HOMOGENEOUS = {name: phi for name, phi in IN_THEORY.items() if isinstance(phi, Homogeneous)}


@checked
def activation_named(activation: ActivationName) -> nn.Module:
    """Create an activation module.

    Args:
        activation: A key of `ACTIVATIONS`.

    Raises:
        ValueError: activation is not a key of `ACTIVATIONS`.

    Example:
        >>> activation_named("relu")
        ReLU()
    """
    return ACTIVATIONS[activation]()
