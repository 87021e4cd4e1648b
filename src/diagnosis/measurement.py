"""What a few nets show together: rates per layer forward and backward, spread, silent units, dead nets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from start_training.diagnosis.layer_rates import Array, LayerRates, rates, ratios_backward, ratios_forward, spread
from start_training.diagnosis.probe import Readings
from start_training.theory.verdict import FM1, Thresholds, Verdict, judge


@dataclass(frozen=True)
class LayerMeasurement:
    """Measurements of layers 0 … d, in the order in which they ran, of several nets.

    In a net with branches a rate compares a layer with the one that ran before; the sum over layers still is the
    change from the first to the last.

    Attributes:
        names: Of the d + 1 layers.
        feeds: For each layer 0 … d, the weighted layers that ran since the layer before.
        lengths: Shape (nets, d + 1), means over the samples.
        gradients: Shape (nets, d + 1), squared, means over the samples; NaN where no gradient flows.
        forward: Rates of lengths, layers 1 … d.
        backward: Rates of squared gradients, layers 1 … d.
        spread: Shape (d,), each layer's share of the effective beta.
        silent: Shape (d + 1,), the share of units that are zero on every sample, mean over nets.
        normalized: Whether the net has batch normalization.
        shared: Shape (d,), the variance of a rate that all nets share because they are redrawn from the same weights.
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
    def of(cls, nets: list[Readings], *, normalized: bool, shared: Mapping[str, float]) -> "LayerMeasurement":
        """From the readings of each net.

        Args:
            nets: All of the same layers.
            normalized: Whether the net has batch normalization.
            shared: The variance of a rate that all nets share, by the name of the weighted layer.

        Raises:
            ValueError: the input is the only layer.
        """
        if len(nets[0].names) < 2:
            raise ValueError(f"modules = {nets[0].names}: there is no layer after the input to measure in this pass")
        lengths = np.array([[float(layer.mean()) for layer in net.lengths] for net in nets])
        gradients = np.array(
            [[math.nan if layer is None else float(layer.mean()) for layer in net.gradients] for net in nets]
        )
        by_sample = [np.stack([net.lengths[layer].cpu().numpy() for net in nets]) for layer in range(lengths.shape[1])]
        return cls(
            names=tuple(nets[0].names),
            feeds=tuple(nets[0].feeds),
            lengths=lengths,
            gradients=gradients,
            forward=rates(ratios_forward(lengths)),
            backward=rates(ratios_backward(gradients)),
            spread=spread(by_sample),
            silent=np.array([net.silent for net in nets]).mean(0),
            normalized=normalized,
            shared=np.array([sum(shared.get(name, 0.0) for name in feeds) for feeds in nets[0].feeds[1:]]),
        )

    @property
    def nets(self) -> int:
        """The number of nets."""
        return len(self.lengths)

    @property
    def depth(self) -> int:
        """The number of layers without the input."""
        return len(self.names) - 1

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Whether a layer of each net is all zero and no gradient reaches the input; (nets,)."""
        return (self.lengths == 0).any(1) & ~(self.gradients[:, 0] > 0)

    @property
    def log_deviation(self) -> float:
        """Standard deviation of log M_d over living nets; NaN for fewer than two."""
        last = self.lengths[~self.dead, -1]
        last = last[(last > 0) & np.isfinite(last)]
        return float(np.log(last).std(ddof=1)) if len(last) > 1 else math.nan

    def verdict(self, thresholds: Thresholds) -> Verdict:
        """The verdict from these measurements alone; where no gradient flows, from the forward pass alone.

        Gradients that grow on their way back through batch normalization have another threshold, see `Thresholds`.
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
            dead=float(self.dead.mean()),
            error=math.hypot(max(self.forward.drift_error, self.backward.drift_error), shared_error),
            thresholds=thresholds,
        )
