"""Measurements of all layers of a net over several initializations, and of the paths through them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from start_training.diagnosis.evidence.layer_rates import Array
from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.diagnosis.evidence.probe import Reading
from start_training.lengths.call import Call
from start_training.lengths.coverage import Coverage
from start_training.lengths.forward_trace import ForwardTrace
from start_training.lengths.layer_choice import LayerChoice
from start_training.lengths.signal.paths import PathNode, longest_paths
from start_training.lengths.signal.time_gradients import TimeGradient

BLOCKS = "blocks"
FEWEST = 3  # ratios of successive layers in a path from which growth with depth can be told from one jump


class Mechanisms(NamedTuple):
    """What is measured of single mechanisms in the first net.

    Attributes:
        attention: Entropies of attention, see `AttentionEntropy`.
        dropout: Probabilities of dropout, see `DropoutCalls`.
        time: Gradients through time, see `TimeGradients`.
        sensitivity: Growth of a small change of the inputs, see `sensitivity`.
    """

    attention: Mapping[str, Sequence[float]]
    dropout: Mapping[str, float]
    time: Sequence[TimeGradient]
    sensitivity: float


class NetMeasurement:
    """Readings of all layers of several nets.

    Args:
        readings: Of each net, for each of layers 0 … d; layer 0 is the input.
        places: For each of layers 1 … d, where it is in the graph of who feeds whom; None: it does not feed the output.
        coverage: What the layers cover.
        weights: For each module with weights of its own whose output reaches that of the net, its bit and what its
            inputs depend on.
        mechanisms: What was measured of attention, dropout, recurrence and small changes.
        normalized: Whether the net has batch normalization.
        shared: Variance of a rate that all nets share, by the name of the weighted layer.
    """

    def __init__(
        self,
        readings: Sequence[Sequence[Reading]],
        places: Sequence[PathNode | None],
        weights: Sequence[tuple[int, int]],
        coverage: Coverage,
        mechanisms: Mechanisms,
        *,
        normalized: bool,
        shared: Mapping[str, float],
    ) -> None:
        self.readings, self.places, self.weights = readings, places, weights
        self.coverage, self.mechanisms = coverage, mechanisms
        self._settings: dict[str, Any] = {"normalized": normalized, "shared": shared}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of layers 0 … d."""
        return tuple(reading.name for reading in self.readings[0])

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the layers of each path, the longest path first.

        It begins with the input, 0, if its first layer is fed by no other layer, and is no block.
        """
        indices = [index for index, place in enumerate(self.places, start=1) if place is not None]
        places = [place for place in self.places if place is not None]
        of_places = 0
        for place in places:
            of_places |= place.bits
        paths = []
        for path in longest_paths(places):
            first = places[path[0]]
            from_input = not first.kind.startswith(BLOCKS) and not first.inputs & of_places
            paths.append(((0,) if from_input else ()) + tuple(indices[position] for position in path))
        return tuple(paths)

    def is_bypassed(self, path: Sequence[int]) -> bool:
        """Return whether there are weights beside a path, which neither feed it nor are fed by it, as in a tower."""
        places = [place for layer in path if layer and (place := self.places[layer - 1]) is not None]
        bits, reach = 0, 0
        for place in places:
            bits, reach = bits | place.bits, reach | place.outputs
        return any(not bit & reach and not inputs & bits for bit, inputs in self.weights)

    def along(self, path: Sequence[int]) -> LayerMeasurement:
        """Return the measurement of the layers of a path."""
        return LayerMeasurement.of([[net[layer] for layer in path] for net in self.readings], **self._settings)

    @cached_property
    def measured_paths(self) -> tuple[tuple[LayerMeasurement, bool], ...]:
        """The paths on which growth can be judged, or the longest one, and whether each is bypassed."""
        long = [path for path in self.paths if len(path) > FEWEST]
        if not long:
            longest = max(self.paths, key=len, default=())
            long = [longest if len(longest) > 1 else tuple(range(len(self.names)))]
        return tuple((self.along(path), self.is_bypassed(path)) for path in long)

    def readings_of(self, attribute: str) -> Array:
        """Return an attribute of all readings, shape (nets, d + 1)."""
        return np.array([[getattr(reading, attribute) for reading in net] for net in self.readings], dtype=np.float64)

    @property
    def out_of_range(self) -> bool:
        """Whether a length or a gradient is 0, infinite or NaN, which may be for lack of precision."""
        known = np.concatenate([self.lengths.ravel(), self.gradients[~np.isnan(self.gradients)]])
        return not bool((np.isfinite(known) & (known > 0)).all())

    @cached_property
    def lengths(self) -> Array:
        """Lengths averaged over samples, shape (nets, d + 1)."""
        return np.array([[float(reading.lengths.mean()) for reading in net] for net in self.readings])

    @cached_property
    def gradients(self) -> Array:
        """Squared gradients averaged over samples, shape (nets, d + 1); NaN where none flows."""
        return np.array(
            [
                [math.nan if reading.gradients is None else float(reading.gradients.mean()) for reading in net]
                for net in self.readings
            ]
        )


def weights_reached(trace: ForwardTrace) -> list[tuple[int, int]]:
    """Return for each module with weights that the output depends on its bit and what its inputs depend on."""
    first = {call.name: call for call in reversed(trace.calls)}
    output = first[""].outputs if "" in first else -1  # all bits
    called = [(bit, first[name].inputs) for name, bit in trace.weights.items() if name in first]
    return [(bit, inputs) for bit, inputs in called if bit & output]


def places_of(names: Sequence[str], choice: LayerChoice, trace: ForwardTrace) -> list[PathNode | None]:
    """Return where each layer is in the graph of who feeds whom, without the input, which is the first name.

    Args:
        names: Names of the readings, as in `Capture`.
        choice: The choice of layers.
        trace: A forward pass.
    """
    calls = defaultdict[str, list[Call]](list)
    for call in trace.calls:
        calls[call.name].append(call)
    root = calls.get("", [])
    output = root[0].outputs if root else -1  # all bits
    places: list[PathNode | None] = []
    for name in names[1:]:
        known = name if name in choice.kinds else name.rpartition(":")[0]
        of_layer = calls[known]
        number = 0 if known == name else int(name.rpartition(":")[2]) - 1
        pooled = of_layer if names.count(name) == 1 and f"{known}:2" not in names else of_layer[number : number + 1]
        bits = 0
        for call in pooled:
            bits |= call.bit
        inputs = (pooled[0].inputs if pooled else 0) & ~bits
        outputs = 0
        for call in pooled:
            outputs |= call.outputs
        kind = choice.kinds.get(known, "")
        if kind == BLOCKS and pooled:  # blocks of different classes do different things
            kind = f"{BLOCKS} {type(pooled[0].module).__name__}"
        place = PathNode(kind, bits, inputs, outputs)
        places.append(place if bits & output else None)
    return places
