"""Decide from growth rates and spreads, predicted or measured, whether a net has failure mode 1 or 2."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from start_training.settings import Fraction, PositiveNumber, checked

FM1 = "FM1"  # mean lengths or gradients grow or shrink exponentially with depth
FM2 = "FM2"  # lengths fluctuate too much between layers or nets


@checked
@dataclass(frozen=True)
class Thresholds:
    """Greatest values of drift, spread and share of dead nets at which a net is judged healthy.

    Args:
        drift: Growth of mean lengths or squared gradients, in nats: the rate in the later half of the layers times the
            number of layers. 9.2 nats are a factor 10⁴. Nets of width 100 on digits train up to 7.7 nats, and do not
            train from 10 nats on (the sweep is in docs/hanin-rolnick.md).
        drift_adam: The same for Adam, which rescales each parameter by its gradients. MLPs with PyTorch's
            initialization train with it up to 12 layers of 32 units (21 nats). Beyond, it depends on the seed: at 20
            ReLU layers (35 nats), 30 tanh layers (35 nats), and for a VGG with weights of standard deviation 0.01 (44
            nats), see tests/zoo/labels.json.
        beta: Σ_j 1/n_j, or log(E[M²] / E[M]²) / 5 in its place. In arXiv:1803.01719 nets with width = depth (beta = 1)
            train, and figure 3 shows training slowing down as beta grows to several units.
        dead: Share of nets in which all units of some layer output 0.
        normalized: Factor on the drift threshold for squared gradients that grow going back through batch
            normalization (measured only, in src/diagnosis). There they grow at any scale of the weights, by 0.4 nats a
            layer in nets without skip connections, and most of the growth vanishes in one training step (Yang et al.
            2019, arXiv:1902.08129). ResNet-50 has 10 nats and trains.

    Raises:
        ValueError: a threshold is not positive, or dead is not a fraction.
    """

    drift: PositiveNumber = 9.2
    drift_adam: PositiveNumber = 22.0
    beta: PositiveNumber = 3.0
    dead: Fraction = 0.2
    normalized: PositiveNumber = 2.0


DEFAULTS = Thresholds()


@dataclass(frozen=True)
class Verdict:
    """Failure modes of a net, with the numbers from which they were decided.

    Args:
        forward: Growth of mean lengths over the later half of the layers, in nats per layer.
        backward: Growth of squared gradients going back through the same layers, in nats per layer.
        drift: Whichever of forward and backward is further from 0, times the number of layers, in nats.
        error: Standard error of drift; 0 for predictions.
        total: Growth of mean lengths over all layers, in nats.
        starts: The layer after which the drift begins; None without failure mode 1.
        spread: beta, or log(E[M²] / E[M]²) / 5 in its place.
        spread_error: Standard error of spread; 0 for predictions.
        dead: Share of nets in which all units of some layer output 0.
        thresholds: Thresholds with which drift, spread and dead were compared.
        failure_modes: Empty, or `FM1`, `FM2` or both.
    """

    forward: float
    backward: float
    drift: float
    error: float
    total: float
    starts: int | None
    spread: float
    spread_error: float
    dead: float
    thresholds: Thresholds
    failure_modes: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether the net has no failure mode."""
        return not self.failure_modes

    @property
    def settles(self) -> bool:
        """Whether lengths change by more than the threshold in total, but without failure mode 1.

        The change then happens in the earlier layers and would not grow further with depth.
        """
        return FM1 not in self.failure_modes and abs(self.total) > self.thresholds.drift


def judge(
    forward_rates: ArrayLike,
    backward_rates: ArrayLike,
    *,
    spread: float,
    dead: float,
    error: float = 0.0,
    spread_error: float = 0.0,
    thresholds: Thresholds = DEFAULTS,
) -> Verdict:
    """Decide whether a net with the given growth rates and spread has failure mode 1 or 2.

    Failure mode 1 is drift that continues with depth: the mean rate of the later half of the layers, forward or
    backward, times the number of layers exceeds the threshold by more than two standard errors. Changes in the earlier
    half alone do not count. A rate that is not finite (a dead or exploded net) is failure mode 1, too.
    Failure mode 2 is a spread above its threshold by more than two standard errors, or a share of dead nets above its
    threshold.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3; thresholds: see `Thresholds`.

    Args:
        forward_rates: log(M_j / M_{j−1}) of mean lengths, shape (d,), in nats.
        backward_rates: Growth of squared gradients going back through each layer, shape (d,), in nats.
        spread: beta, or log(E[M²] / E[M]²) / 5 in its place.
        dead: Share of nets in which all units of some layer output 0.
        error: Standard error of the drift, in nats.
        spread_error: Standard error of the spread.
        thresholds: Greatest healthy values of drift, spread and dead.

    Example:
        >>> judge([0.0] * 20, [-0.7] * 20, spread=0.2, dead=0.0).failure_modes  # gradients shrink by 14 nats
        ('FM1',)
    """
    forward, backward = (np.asarray(rates, dtype=np.float64) for rates in (forward_rates, backward_rates))
    late = [float(rates[len(rates) // 2 :].mean()) for rates in (forward, backward)]
    finite = [bool(np.isfinite(rates).all()) for rates in (forward, backward)]
    worse = int(finite[0] and not (finite[1] and abs(late[1]) <= abs(late[0])))  # non-finite rates count as the worst
    rates = (forward, backward)[worse]
    drift = late[worse] * len(rates)
    first = not (all(finite) and abs(drift) - 2 * error <= thresholds.drift)
    second = not (spread - 2 * spread_error <= thresholds.beta and dead <= thresholds.dead)
    return Verdict(
        forward=late[0],
        backward=late[1],
        drift=drift,
        error=error,
        total=float(forward.sum()),
        starts=onset(rates) if first else None,
        spread=spread,
        spread_error=spread_error,
        dead=dead,
        thresholds=thresholds,
        failure_modes=(FM1,) * first + (FM2,) * second,
    )


def onset(rates: ArrayLike) -> int:
    """Find the layer s after which a drift begins, 0 ≤ s < d; s = 0 if the whole net drifts.

    s minimizes the squared error of fitting the cumulative rate by 0 up to layer s and a straight line afterwards. If
    some rates are not finite, s is the number of layers before the first of them.

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
