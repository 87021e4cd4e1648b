"""What a few nets say together: rates per layer forward and backward, spread, silent units, dead nets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from start_training.diagnosis.probe import Readings
from start_training.diagnosis.rates import Rates, rates, ratios_backward, ratios_forward, spread
from start_training.theory.verdict import FM1, Thresholds, Verdict, judge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """Of layers 0 … d, in the order in which they ran; where branches part and meet, ratios telescope.

    lengths, gradients: (nets, d + 1), means over the samples; gradients are NaN where none flow. forward, backward:
    rates of layers 1 … d. spread: each layer's share of the effective beta, (d,). silent: share of units that are
    zero on every sample, (d + 1,), mean over nets. feeds: for each layer 0 … d, the weighted layers that lead to it.
    normalized: whether there is batch normalization. shared: variance of a rate that the nets have in common,
    (d,), where all are redrawn from the same weights.
    """

    names: tuple[str, ...]
    feeds: tuple[tuple[str, ...], ...]
    lengths: Array
    gradients: Array
    forward: Rates
    backward: Rates
    spread: Array
    silent: Array
    normalized: bool
    shared: Array

    @classmethod
    def of(
        cls, nets: list[Readings], *, normalized: bool = False, shared: Mapping[str, float] | None = None
    ) -> "Measurement":
        """From the readings of each net; `shared` of each weighted layer by name.

        Raises ValueError where a net has no layer but the input.
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
            backward=_rates_where_gradients_flow(gradients),
            spread=spread(by_sample),
            silent=np.array([net.silent for net in nets]).mean(0),
            normalized=normalized,
            shared=np.array([sum((shared or {}).get(name, 0.0) for name in feeds) for feeds in nets[0].feeds[1:]]),
        )

    @property
    def nets(self) -> int:
        """How many."""
        return len(self.lengths)

    @property
    def depth(self) -> int:
        """Layers without the input."""
        return len(self.names) - 1

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Whether each net has a layer that is all zero and lets no gradient through to the input; (nets,)."""
        silent = (self.lengths == 0).any(1)
        return silent & ~(self.gradients[:, 0] > 0)

    @property
    def log_deviation(self) -> float:
        """Standard deviation of log M_d over living nets; NaN for fewer than two."""
        last = self.lengths[~self.dead, -1]
        last = last[(last > 0) & np.isfinite(last)]
        return float(np.log(last).std(ddof=1)) if len(last) > 1 else math.nan

    def verdict(self, thresholds: Thresholds) -> Verdict:
        """From the measurement alone; without any gradient, from the forward pass alone.

        Gradients that grow going back through batch normalization have a threshold of their own, see `Thresholds`.
        """
        verdict = self._judge(thresholds)
        if self.normalized and FM1 in verdict.failure_modes and verdict.backward > abs(verdict.forward):
            return self._judge(replace(thresholds, drift=thresholds.drift * thresholds.normalized))
        return verdict

    @property
    def _shared_error(self) -> float:
        late = self.shared[self.depth // 2 :]
        return self.depth / len(late) * math.sqrt(late.sum())

    def _judge(self, thresholds: Thresholds) -> Verdict:
        return judge(
            self.forward.judged,
            self.backward.judged if self.backward.known.any() else np.zeros(1),
            spread=float(self.spread.sum()),
            dead=float(self.dead.mean()),
            error=math.hypot(max(self.forward.drift_error, self.backward.drift_error), self._shared_error),
            thresholds=thresholds,
        )


def _rates_where_gradients_flow(gradients: Array) -> Rates:
    """Backward rates between neighbouring layers that gradients reach; unknown (0 nets) at the others."""
    reached = ~np.isnan(gradients)
    both = reached[:, 1:] & reached[:, :-1]
    return rates(np.where(both, ratios_backward(gradients), math.nan))
