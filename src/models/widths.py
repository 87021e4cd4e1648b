"""Lists of hidden widths of a given pattern, for the setting `widths` of a fully connected net."""

from collections.abc import Sequence

from start_training.settings import PositiveInteger, checked


@checked
def alternating(depth: PositiveInteger, widths: Sequence[PositiveInteger]) -> list[int]:
    """Repeat a list of widths until there are `depth` layers.

    Args:
        depth: Number of layers.
        widths: Widths to repeat.

    Raises:
        ValueError: depth or a width is not a whole number of at least 1, or widths is empty.

    Example:
        >>> alternating(5, [30, 10])
        [30, 10, 30, 10, 30]
    """
    return [widths[j % len(widths)] for j in range(depth)]


@checked
def in_blocks(depth: PositiveInteger, widths: Sequence[PositiveInteger]) -> list[int]:
    """Give each of the widths, in order, an equal share of consecutive layers out of `depth`.

    Args:
        depth: Number of layers.
        widths: Width of each block of layers.

    Raises:
        ValueError: depth or a width is not a whole number of at least 1, or widths is empty.

    Example:
        >>> in_blocks(5, [30, 10])
        [30, 30, 30, 10, 10]
    """
    return [widths[j * len(widths) // depth] for j in range(depth)]
