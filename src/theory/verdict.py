"""A verdict on failure modes 1 and 2 from rates and spreads, predicted or measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from start_training.settings import Fraction, PositiveNumber, checked

FM1 = "FM1"
FM2 = "FM2"


@checked
@dataclass(frozen=True)
class Thresholds:
    """The greatest values at which a net is still judged healthy.

    Args:
        drift: Nats over the whole net at the rate of its later half, of mean lengths or squared gradients; 9.2 nats are
            a factor 10⁴. Nets of width 100 on digits train up to 7.7 nats and no longer from 10 on
            (docs/hanin-rolnick.md has the sweep).
        beta: Σ_j 1/n_j, or log(E[M²] / E[M]²) / 5 in its place. Width = depth, beta = 1, trains in the paper, and its
            figure 3 shows training slowing as beta grows to several units.
        dead: Share of nets in which all units of some layer are silent.
        normalized: Factor on drift for squared gradients that grow going back through batch normalization (measured
            only: src/diagnosis). They grow whatever the weights' scale, by 0.4 nats a layer in nets without skip
            connections, and lose most of that range in one step of training (Yang et al. 2019, arXiv:1902.08129);
            ResNet-50 has 10 nats, and trains.

    Raises:
        ValueError: a threshold is not positive, or dead is not a fraction.
    """

    drift: PositiveNumber = 9.2
    beta: PositiveNumber = 3.0
    dead: Fraction = 0.2
    normalized: PositiveNumber = 2.0


DEFAULTS = Thresholds()


@dataclass(frozen=True)
class Verdict:
    """Which failure modes a net shows, and the numbers from which this follows.

    Args:
        forward: Nats per layer by which mean lengths grow over the later half of the layers.
        backward: Nats per layer by which squared gradients grow on their way back through the same layers.
        drift: The one of forward and backward that is further from 0, times the number of layers.
        error: Standard error of drift; 0 for theory.
        total: Nats by which mean lengths grow over all layers.
        starts: The layer after which the drift begins; None where there is no failure mode 1.
        spread: beta, or log(E[M²] / E[M]²) / 5 in its place.
        dead: Share of nets that die.
        thresholds: What the numbers are compared with.
        failure_modes: `FM1`, `FM2`, both or none.
    """

    forward: float
    backward: float
    drift: float
    error: float
    total: float
    starts: int | None
    spread: float
    dead: float
    thresholds: Thresholds
    failure_modes: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no failure mode."""
        return not self.failure_modes

    @property
    def settles(self) -> bool:
        """Whether lengths change by more than the threshold over the net, but not at the rate of its later half."""
        return FM1 not in self.failure_modes and abs(self.total) > self.thresholds.drift


def judge(
    forward_rates: ArrayLike,
    backward_rates: ArrayLike,
    *,
    spread: float,
    dead: float,
    error: float = 0.0,
    thresholds: Thresholds = DEFAULTS,
) -> Verdict:
    """The verdict on a net with these rates of growth and this spread.

    Failure mode 1 is drift that goes on with depth: the rate of the later half of the layers, forward or backward,
    would exceed the threshold over all layers by two standard errors. Changes in the earlier half alone do not count.
    A rate that is not finite (a dead or exploded net) is failure mode 1.
    Failure mode 2 is a spread or a share of dead nets beyond its threshold.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3; thresholds: see `Thresholds`.

    Args:
        forward_rates: log(M_j / M_{j−1}) of mean lengths, shape (d,), in nats.
        backward_rates: Growth of squared gradients going back through each layer, shape (d,), in nats.
        spread: beta, or log(E[M²] / E[M]²) / 5 in its place.
        dead: Share of nets that die.
        error: Standard error of the drift.
        thresholds: What drift, spread and dead are compared with.

    Example:
        >>> judge([0.0] * 20, [-0.7] * 20, spread=0.2, dead=0.0).failure_modes  # gradients shrink by 14 nats
        ('FM1',)
    """
    forward, backward = (np.asarray(rates, dtype=np.float64) for rates in (forward_rates, backward_rates))
    late = [float(rates[len(rates) // 2 :].mean()) for rates in (forward, backward)]
    finite = [bool(np.isfinite(rates).all()) for rates in (forward, backward)]
    worse = int(finite[0] and not (finite[1] and abs(late[1]) <= abs(late[0])))  # what is not finite is the worst
    rates = (forward, backward)[worse]
    drift = late[worse] * len(rates)
    first = not (all(finite) and abs(drift) - 2 * error <= thresholds.drift)
    second = not (spread <= thresholds.beta and dead <= thresholds.dead)
    return Verdict(
        forward=late[0],
        backward=late[1],
        drift=drift,
        error=error,
        total=float(forward.sum()),
        starts=onset(rates) if first else None,
        spread=spread,
        dead=dead,
        thresholds=thresholds,
        failure_modes=(FM1,) * first + (FM2,) * second,
    )


def onset(rates: ArrayLike) -> int:
    """The layer s after which a drift begins, 0 ≤ s < d; 0 where it is that of the whole net.

    Least squares of the cumulative rate over layers against 0 up to layer s and a straight line from there on. Where
    rates are not all finite, it is the first such layer.

    Args:
        rates: Growth of each layer, shape (d,), in nats.

    Example:
        >>> onset([0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
        3
    """
    rates = np.asarray(rates, dtype=np.float64)
    if not np.isfinite(rates).all():
        return int(np.argmin(np.isfinite(rates)))
    drift, layers = np.cumsum(rates), np.arange(1, len(rates) + 1)
    ramps = [np.maximum(layers - start, 0) for start in range(len(rates))]
    return int(np.argmin([((drift - ramp * (drift @ ramp) / (ramp @ ramp)) ** 2).sum() for ramp in ramps]))
