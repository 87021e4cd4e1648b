"""All nets of the zoo, and which of them are held out while thresholds are chosen."""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256

from tests.zoo import (
    adapters,
    convolutional,
    decoders,
    dense,
    encoder_decoders,
    generative,
    graphs,
    implicit,
    normalized,
    recurrent,
    towers,
    transformers,
)
from tests.zoo.net import ZooNet

_FAMILIES = (
    dense,
    convolutional,
    normalized,
    transformers,
    decoders,
    encoder_decoders,
    recurrent,
    towers,
    graphs,
    implicit,
    generative,
    adapters,
)
NETS: dict[str, ZooNet] = {net.name: net for family in _FAMILIES for net in family.NETS}
FAMILIES = tuple(dict.fromkeys(net.family for net in NETS.values()))
HELD_OUT_SEED = 21


def drawn(nets: Iterable[ZooNet], share: float, seed: int) -> list[ZooNet]:
    """Return a share of the nets of each family, rounded so that the share of all is right.

    Args:
        nets: to draw from.
        share: between 0 and 1.
        seed: the nets of a family are ordered by a hash of the seed and their name, so that the order of two nets
            does not depend on which others there are.
    """
    families = defaultdict(list)
    for net in nets:
        families[net.family].append(net)
    chosen: list[ZooNet] = []
    expected = 0.0
    for _, family in sorted(families.items()):
        expected += share * len(family)
        ordered = sorted(family, key=lambda net: sha256(f"{seed} {net.name}".encode()).digest())
        chosen += ordered[: round(expected) - len(chosen)]
    return chosen


def held_out() -> frozenset[str]:
    """Return the names of the third that may not be looked at while thresholds are chosen, stratified by family."""
    return frozenset(net.name for net in drawn(NETS.values(), 1 / 3, HELD_OUT_SEED))
