"""Nets with layers of unusual kinds, which a config can name."""

import torch
from torch import nn


class Lazy(nn.Sequential):
    """A net whose layers learn their shapes from data, with a normalization and a computed weight."""

    def __init__(self, input_size, classes):
        super().__init__(
            nn.Flatten(), nn.LazyLinear(16), nn.LayerNorm(16), nn.ReLU(),
            nn.utils.parametrizations.spectral_norm(nn.Linear(16, 16)), nn.LazyLinear(classes),
        )  # fmt: skip


class Mixing(nn.Module):
    """A dense layer that is written in an unknown way."""

    def __init__(self, units_in, units_out):
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(units_in, units_out) / units_in**0.5)

    def forward(self, inputs):
        return inputs.flatten(1) @ self.mixing


class Unknown(nn.Sequential):
    """A net of which only the readout is of a known kind."""

    def __init__(self, input_size, classes):
        super().__init__(Mixing(input_size, 16), nn.ReLU(), nn.Linear(16, classes))
