"""Families of hidden widths, to be given to a fully connected net as its `widths`."""

from collections.abc import Sequence

from start_training.settings import PositiveInteger, checked


@checked
def alternating(depth: PositiveInteger, widths: Sequence[PositiveInteger]) -> list[int]:
    """The given widths in turn, repeated until there are `depth` layers.

    Raises:
        ValueError: depth or a width is not a whole number of at least 1, or widths is empty.

    Example:
        >>> alternating(5, [30, 10])
        [30, 10, 30, 10, 30]
    """
    return [widths[j % len(widths)] for j in range(depth)]


@checked
def in_blocks(depth: PositiveInteger, widths: Sequence[PositiveInteger]) -> list[int]:
    """The given widths in their order, each for an equal share of `depth` layers.

    Raises:
        ValueError: depth or a width is not a whole number of at least 1, or widths is empty.

    Example:
        >>> in_blocks(5, [30, 10])
        [30, 30, 30, 10, 10]
    """
    return [widths[j * len(widths) // depth] for j in range(depth)]
