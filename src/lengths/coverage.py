"""Tell how much of a net lies between measured layers."""

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from start_training.lengths.forward_trace import ForwardTrace
from start_training.lengths.modules import has_weights, modules_by_name

ENOUGH = 0.8  # share of weighted modules below which there is a warning
_SHOWN = 5  # names of modules in a sentence


@dataclass(frozen=True)
class Coverage:
    """How many of a net's modules with weights that multiply lie between the input and a measured layer.

    Attributes:
        layers: Number of measured layers of each kind, by the name of the kind.
        weighted: Number of modules with weights of two or more axes that multiply an activation.
        missed: Names of those that influence no measured layer, in the order of execution.
        readouts: Those of them that follow a measured layer without another such module in between.

    Example:
        >>> print(Coverage({"blocks": 12, "activations": 2}, weighted=38, missed=("head",), readouts=1))
        12 blocks, 2 activations; 37 of 38 weighted modules lie between measured layers; not covered: head
    """

    layers: Mapping[str, int]
    weighted: int
    missed: tuple[str, ...]
    readouts: int

    @property
    def share(self) -> float:
        """The covered share of the weighted modules, without readouts, which are never between measured layers."""
        others = self.weighted - self.readouts
        return (self.weighted - len(self.missed)) / others if others else 1.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind[:-1] if count == 1 else kind}" for kind, count in self.layers.items())
        text = f"{counts}; {self.weighted - len(self.missed)} of {self.weighted} weighted modules lie between measured"
        text += " layers"
        if self.missed:
            more = f" and {len(self.missed) - _SHOWN} more" if len(self.missed) > _SHOWN else ""
            text += f"; not covered: {', '.join(self.missed[:_SHOWN])}{more}"
        return text

    def report(self) -> None:
        """Print it, and warn if it is low."""
        print(f"ActivationLengths: {self}")
        if self.share < ENOUGH:
            warnings.warn(f"ActivationLengths covers {self.share:.0%} of the net: {self}", stacklevel=2)

    def summary(self) -> dict[str, Any]:
        """Return plain data for the summary of a run."""
        layers = {kind.replace(" ", "_"): count for kind, count in self.layers.items()}
        return {"layers": layers, "weighted_modules": self.weighted, "not_covered": list(self.missed)}


def coverage_of(net: nn.Module, kinds: Mapping[str, str], trace: ForwardTrace | None) -> Coverage:
    """Return what the measured layers of a net cover.

    Args:
        net: The net.
        kinds: The kind of each measured layer, by its name.
        trace: A forward pass; None: modules count in the order in which they are defined.
    """
    layers = dict(Counter(kinds.values()))
    if trace is None:
        modules = modules_by_name(net)
        names = list(modules)
        last = max((index for index, name in enumerate(names) if name in kinds), default=-1)
        weighted = [name for name, module in modules.items() if has_weights(module)]
        missed = [name for name in weighted if names.index(name) > last]
        return Coverage(layers, len(weighted), tuple(missed), readouts=min(len(missed), 1))
    measured = covered = 0
    for call in trace.calls:
        if call.name in kinds:
            measured, covered = measured | call.bit, covered | call.outputs
    added = trace.used & ~trace.multiplied  # as position embeddings
    weighted = [name for name, bit in trace.weights.items() if not bit & added]
    first = {call.name: call for call in reversed(trace.calls)}
    missed = [name for name in weighted if not trace.weights[name] & covered]
    missed.sort(key=lambda name: trace.calls.index(first[name]) if name in first else -1)
    beyond = sum(trace.weights[name] for name in missed)
    inputs = [first[name].inputs for name in missed if name in first]
    readouts = sum(bool(reach & measured and not reach & beyond) for reach in inputs)
    return Coverage(layers, len(weighted), tuple(missed), readouts)
