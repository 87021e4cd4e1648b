"""Paths through a net: sequences of layers of one kind that feed each other, from the first to the last."""

from collections.abc import Sequence
from typing import NamedTuple


class PathNode(NamedTuple):
    """A layer in a forward pass, as a node of the graph of who feeds whom.

    Attributes:
        kind: Only layers of one kind are compared with each other.
        bits: The bits of its calls, of `ForwardTrace`.
        inputs: The bits of the calls and weights that its inputs depend on.
        outputs: The same of its outputs.
    """

    kind: str
    bits: int
    inputs: int
    outputs: int = 0


def longest_paths(places: Sequence[PathNode]) -> list[tuple[int, ...]]:
    """Return, for each place, the longest path through it; each path once, the longest first.

    A path is a sequence of places of one kind, each of which feeds the next. Layers that run one after another without
    feeding each other, such as those of two towers, are never in one path.

    Args:
        places: In the order in which they run.

    Returns:
        Increasing indices of places.

    Example:
        >>> first, second = [PathNode("", 1, 0), PathNode("", 4, 1)], [PathNode("", 2, 0), PathNode("", 8, 2)]
        >>> longest_paths([first[0], second[0], first[1], second[1], PathNode("", 16, 15)])
        [(0, 2, 4), (1, 3, 4)]
    """
    before: list[tuple[int, ...]] = []
    for index, place in enumerate(places):
        feeding = [before[i] for i in range(index) if _feeds(places[i], place)]
        before.append((*max(feeding, key=len, default=()), index))
    after: list[tuple[int, ...]] = [()] * len(places)
    for index in reversed(range(len(places))):
        fed = [after[i] for i in range(index + 1, len(places)) if _feeds(places[index], places[i])]
        after[index] = (index, *max(fed, key=len, default=()))
    paths = {before[index][:-1] + after[index]: None for index in range(len(places))}
    return sorted(paths, key=lambda path: (-len(path), path))


def _feeds(first: PathNode, second: PathNode) -> bool:
    return first.kind == second.kind and bool(first.bits & second.inputs)
