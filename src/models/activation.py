"""The activations a net can be built with, by name, and the moments theory knows of them."""

from torch import nn

from src.settings import one_of
from src.theory.mean_length import LINEAR, RELU, Moments, leaky_relu

LEAK = 0.01  # torch's default negative slope

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "linear": nn.Identity,
}

# Only of homogeneous activations: the length of the others depends on the scale of their input.
MOMENTS: dict[str, Moments] = {"relu": RELU, "leaky_relu": leaky_relu(LEAK), "linear": LINEAR}


def activation_named(name: str) -> nn.Module:
    """A new activation module. Raises ValueError for a name that is not in ACTIVATIONS."""
    return ACTIVATIONS[one_of("activation", name, ACTIVATIONS)]()
