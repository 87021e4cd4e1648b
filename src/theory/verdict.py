"""A verdict on failure modes 1 and 2 from rates and spreads, predicted or measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from start_training.settings import fraction, positive_number

FM1 = "FM1"
FM2 = "FM2"


@dataclass(frozen=True)
class Thresholds:
    """How much is too much.

    drift: nats over the whole net at the rate of its later half, of mean lengths or squared gradients; a factor 10⁴.
    Nets of width 100 on digits train up to 7.7 nats and no longer from 10 on (docs/hanin-rolnick.md has the sweep).
    beta: greatest Σ_j 1/n_j, or what stands for it: log(E[M²] / E[M]²) / 5. Width = depth, beta = 1, trains in the
    paper, and its figure 3 shows training slowing as beta grows to several units.
    dead: greatest share of nets in which all units of some layer are silent.
    normalized: factor on drift for squared gradients that grow going back through batch normalization (measured only:
    src/diagnosis). They do whatever the weights' scale, by 0.4 nats a layer where nothing is skipped, and lose most of
    that range in one step of training (Yang et al. 2019, arXiv:1902.08129); ResNet-50 has 10 nats, and trains.
    """

    drift: float = 9.2
    beta: float = 3.0
    dead: float = 0.2
    normalized: float = 2.0

    def __post_init__(self) -> None:
        positive_number("drift", self.drift)
        positive_number("beta", self.beta)
        fraction("dead", self.dead)
        positive_number("normalized", self.normalized)


DEFAULTS = Thresholds()


@dataclass(frozen=True)
class Verdict:
    """Which failure modes a net shows, and the numbers that say so.

    forward: nats per layer by which mean lengths grow over the later half of the layers. backward: likewise by which
    squared gradients grow on their way back through these layers. drift: the one that is further from 0, times
    the number of layers. error: its standard error, 0 for theory. total: nats by which mean lengths grow in all.
    starts: the layer after which this drift sets in, None where there is no failure mode 1. spread: beta, or what
    stands for it. dead: share of nets that die.
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
        """No failure mode."""
        return not self.failure_modes

    @property
    def settles(self) -> bool:
        """Lengths change by more than the threshold over the net, but no longer do so in its later half."""
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
    """The verdict on rates per layer, forward log(M_j / M_{j−1}) and backward, each of shape (d,).

    Failure mode 1 is drift that goes on with depth: at the rate of the later half of the layers, forward or
    backward, beyond the threshold over as many layers as there are, by two standard errors (`error`, of that drift).
    What only the earlier half does has settled. A rate that is not finite (a dead or exploded net) is failure mode 1.
    Failure mode 2 is a spread or a share of dead nets beyond its threshold.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3; thresholds: see `Thresholds`.
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
    """The layer after which a drift sets in: 0 where it goes all the way, 0 ≤ s < d.

    Least squares of the cumulative rate over layers against 0 up to layer s and a straight line from there on.
    """
    rates = np.asarray(rates, dtype=np.float64)
    if not np.isfinite(rates).all():
        return int(np.argmin(np.isfinite(rates)))
    drift, layers = np.cumsum(rates), np.arange(1, len(rates) + 1)
    return int(np.argmin([_residual(drift, np.maximum(layers - start, 0)) for start in range(len(rates))]))


def _residual(values: NDArray[np.float64], ramp: NDArray[np.int64]) -> float:
    return float(((values - ramp * (values @ ramp) / (ramp @ ramp)) ** 2).sum())
