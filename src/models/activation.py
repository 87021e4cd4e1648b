"""The activations a net can be built with, by name, and those that theory has closed forms for."""

from torch import nn

from start_training.settings import one_of
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

# The length of any other depends on the scale of its input.
HOMOGENEOUS = {name: each for name, each in IN_THEORY.items() if isinstance(each, Homogeneous)}


def activation_named(name: str) -> nn.Module:
    """A new activation module. Raises ValueError for a name that is not in ACTIVATIONS."""
    return ACTIVATIONS[one_of("activation", name, ACTIVATIONS)]()
