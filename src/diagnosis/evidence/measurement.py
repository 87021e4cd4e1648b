"""Measurements of each layer over several nets: forward and backward rates, spread, silent units, dead nets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from start_training.diagnosis.evidence.layer_rates import (
    Array,
    LayerRates,
    rates,
    ratios_backward,
    ratios_forward,
    spread,
)
from start_training.diagnosis.evidence.probe import Reading
from start_training.theory.verdict import FM1, Thresholds, Verdict, judge


@dataclass(frozen=True)
class LayerMeasurement:
    """Measurements of layers 0 … d of several nets; layer 0 is the input, the others are in order of execution.

    They are those of a path through the net: each layer feeds the next.

    Attributes:
        names: Names of the d + 1 layers.
        feeds: For each layer 0 … d, the names of the dense and convolutional layers executed since the previous layer.
        lengths: Lengths averaged over samples, shape (nets, d + 1).
        gradients: Squared gradients averaged over samples, shape (nets, d + 1); NaN if no gradient flows.
        forward: Growth rates of lengths in layers 1 … d.
        backward: Growth rates of squared gradients, in the direction of the backward pass, in layers 1 … d.
        spread: Contribution of each layer to the effective beta, shape (d,); see `layer_rates.spread`.
        silent: Fraction of units that are zero on every sample, averaged over nets, shape (d + 1,).
        normalized: Whether the net has batch normalization.
        shared: Variance of the rate of each layer that all nets share because they are redrawn from the same weights,
            shape (d,).
    """

    names: tuple[str, ...]
    feeds: tuple[tuple[str, ...], ...]
    lengths: Array
    gradients: Array
    forward: LayerRates
    backward: LayerRates
    spread: Array
    silent: Array
    normalized: bool
    shared: Array

    @classmethod
    def of(
        cls, nets: Sequence[Sequence[Reading]], *, normalized: bool, shared: Mapping[str, float]
    ) -> "LayerMeasurement":
        """Combine the readings of several nets.

        Args:
            nets: Readings of each net, all of the same layers.
            normalized: Whether the net has batch normalization.
            shared: Variance of a rate that all nets share, by the name of the dense or convolutional layer.

        Raises:
            ValueError: the input is the only layer.
        """
        first = nets[0]
        if len(first) < 2:
            raise ValueError("layers: the forward pass executes none of the layers to measure; set other layers=…")
        lengths = np.array([[float(layer.lengths.mean()) for layer in net] for net in nets])
        gradients = np.array(
            [[math.nan if layer.gradients is None else float(layer.gradients.mean()) for layer in net] for net in nets]
        )
        by_sample = [_by_sample([net[layer] for net in nets]) for layer in range(len(first))]
        return cls(
            names=tuple(layer.name for layer in first),
            feeds=tuple(layer.feeds for layer in first),
            lengths=lengths,
            gradients=gradients,
            forward=rates(ratios_forward(lengths)),
            backward=rates(ratios_backward(gradients)),
            spread=spread(by_sample),
            silent=np.array([[layer.silent for layer in net] for net in nets]).mean(0),
            normalized=normalized,
            shared=np.array([sum(shared.get(name, 0.0) for name in layer.feeds) for layer in first[1:]]),
        )

    @property
    def nets(self) -> int:
        return len(self.lengths)

    @property
    def depth(self) -> int:
        """Number d of layers, not counting the input."""
        return len(self.names) - 1

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Whether each net is dead, shape (nets,): a layer is zero on all samples and no gradient reaches the input."""
        return (self.lengths == 0).any(1) & ~(self.gradients[:, 0] > 0)

    @property
    def log_deviation(self) -> float:
        """Standard deviation of log M_d over living nets; NaN for fewer than two of them."""
        last = self.lengths[~self.dead, -1]
        last = last[(last > 0) & np.isfinite(last)]
        return float(np.log(last).std(ddof=1)) if len(last) > 1 else math.nan

    @property
    def spread_error(self) -> float:
        """Standard error of the sum of `spread`, if the ratios of successive layers are independent and normal."""
        degrees = np.maximum(self.forward.nets - 1, 1)
        return float(np.sqrt((self.spread**2 * 2 / degrees).sum()))

    def verdict(self, thresholds: Thresholds) -> Verdict:
        """Return the verdict from these measurements, without theory.

        If no gradient flows, only the forward pass counts. Squared gradients that grow in the backward pass of a net
        with batch normalization have a larger threshold, see `Thresholds.normalized`.
        """
        verdict = self._judge(thresholds)
        if self.normalized and FM1 in verdict.failure_modes and verdict.backward > abs(verdict.forward):
            return self._judge(replace(thresholds, drift=thresholds.drift * thresholds.normalized))
        return verdict

    def _judge(self, thresholds: Thresholds) -> Verdict:
        late = self.shared[self.depth // 2 :]
        shared_error = self.depth / len(late) * math.sqrt(late.sum())
        return judge(
            self.forward.judged,
            self.backward.judged if self.backward.known.any() else np.zeros(1),
            spread=float(self.spread.sum()),
            spread_error=self.spread_error,
            dead=float(self.dead.mean()),
            error=math.hypot(max(self.forward.drift_error, self.backward.drift_error), shared_error),
            thresholds=thresholds,
        )


def _by_sample(readings: Sequence[Reading]) -> Array:
    """Return the lengths of the samples that all nets have, of which detectors choose different numbers."""
    lengths = [reading.lengths.cpu().numpy() for reading in readings]
    size = min(map(len, lengths))
    return np.stack([one[:size] for one in lengths])
