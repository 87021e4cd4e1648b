"""Families of hidden widths, to be given to a fully connected net as its `widths`."""

from collections.abc import Sequence

from start_training.settings import positive_integer


def alternating(depth: int, widths: Sequence[int]) -> list[int]:
    """The widths in turn, over and over, for `depth` layers.

    Raises ValueError for a count that is not positive, or no widths.
    """
    widths = _checked(widths)
    return [widths[j % len(widths)] for j in range(positive_integer("depth", depth))]


def in_blocks(depth: int, widths: Sequence[int]) -> list[int]:
    """Each width for an equal share of `depth` layers, in this order. Raises ValueError as `alternating`."""
    widths = _checked(widths)
    return [widths[j * len(widths) // depth] for j in range(positive_integer("depth", depth))]


def _checked(widths: Sequence[int]) -> list[int]:
    if not isinstance(widths, Sequence) or isinstance(widths, str) or not len(widths):
        raise ValueError(f"widths = {widths!r}: must be a list with at least one width")
    return [positive_integer("widths", width) for width in widths]
