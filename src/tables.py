"""What terminal tables have in common: the layers that they show of a deep net, and the head of predictions."""

from collections.abc import Sequence

import numpy as np

ROWS = 24  # greatest number of rows in a table


def shown_layers(layers: int) -> list[int]:
    """Select at most `ROWS` of the layers 0 … layers − 1 for a table, evenly spaced, with the first and the last.

    Example:
        >>> shown_layers(3), shown_layers(100)[:3]
        ([0, 1, 2], [0, 4, 9])
    """
    return sorted(set(np.linspace(0, layers - 1, min(layers, ROWS)).round().astype(int).tolist()))


def theory_heading(supposes: Sequence[str]) -> str:
    """Return the head of a column of predictions, which says what they suppose.

    It has a line for each word, so that the column stays narrow in a terminal of 80 columns.

    Args:
        supposes: What the predictions suppose, the attribute `supposes` of a law; empty if they are exact.

    Example:
        >>> theory_heading(["wide limit"]).splitlines()
        ['theory', '(wide', 'limit)']
    """
    return "\n".join(["theory", *f"({', '.join(supposes)})".split()]) if supposes else "theory"
