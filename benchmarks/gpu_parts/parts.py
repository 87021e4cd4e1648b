"""The parts of `benchmark.py gpu` in the order of their value, what a part consists of, and how time is shared."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

FINDING = "finding"  # the key of a result that says it in words, for the table


class Part(NamedTuple):
    """A module whose `measurements(device, tiny=)` are made in a process of its own, and its weight in the budget."""

    name: str
    module: str
    weight: float
    question: str


class Measurement(NamedTuple):
    """`measure(seconds)` returns plain data, and takes about so many seconds where it can choose how long it takes."""

    name: str
    measure: Callable[[float], dict[str, Any]]
    weight: float = 1.0


def _part(name: str, weight: float, question: str) -> Part:
    return Part(name, f"{__package__}.{name}", weight, question)


# The weights are about the seconds that a part is thought to take on a data-centre GPU.
PARTS = (
    _part("machine", 20, "which device, and how fast it multiplies"),
    _part("correctness", 70, "does ActivationLengths record what it records on a CPU?"),
    _part("cost", 150, "what does recording add to a step?"),
    _part("ddp", 45, "do two processes record what one does?"),
    _part("ensembles", 40, "nets of width 10,000: law, memory, time"),
    _part("phase_diagram", 35, "a phase diagram at N = 10,000: values, memory, time"),
    _part("replicas", 50, "how much faster is a group of replicas than one run at a time?"),
    _part("figure_1b", 90, "how long does figure 1b take at full size?"),
)


def share(seconds: float, weights: Sequence[float]) -> float:
    """Of the seconds left for all that is still to come, those of the first; what it leaves is shared by the rest."""
    return max(seconds, 0.0) * weights[0] / sum(weights)
