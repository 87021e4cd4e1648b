"""Which layers of a deep net a table on the terminal shows."""

import numpy as np

ROWS = 24  # greatest number of layers in a table


def shown_layers(layers: int) -> list[int]:
    """The layers to show of layers 0 … layers − 1: the first, the last and evenly spaced ones between, at most `ROWS`.

    Example:
        >>> shown_layers(3), shown_layers(100)[:3]
        ([0, 1, 2], [0, 4, 9])
    """
    return sorted(set(np.linspace(0, layers - 1, min(layers, ROWS)).round().astype(int).tolist()))
