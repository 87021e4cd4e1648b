"""Selection of the layers that a terminal table shows of a deep net."""

import numpy as np

ROWS = 24  # greatest number of rows in a table


def shown_layers(layers: int) -> list[int]:
    """Select at most `ROWS` of the layers 0 … layers − 1 for a table, evenly spaced, with the first and the last.

    Example:
        >>> shown_layers(3), shown_layers(100)[:3]
        ([0, 1, 2], [0, 4, 9])
    """
    return sorted(set(np.linspace(0, layers - 1, min(layers, ROWS)).round().astype(int).tolist()))
