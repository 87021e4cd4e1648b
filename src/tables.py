"""How tables on the terminal show deep nets."""

import numpy as np

ROWS = 24  # deeper nets are shown by this many of their layers


def shown_layers(layers: int) -> list[int]:
    """The first, the last and evenly spaced layers between, at most `ROWS` of them."""
    return sorted(set(np.linspace(0, layers - 1, min(layers, ROWS)).round().astype(int).tolist()))
