"""Rates per layer, their standard errors, and the spread over nets, estimated from few nets.

The length of a deep layer is so heavy-tailed over nets that a mean of ten is far off; the ratios M_j / M_{j−1} are
nearly independent of each other and light-tailed. So everything here is estimated from ratios.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Array = NDArray[np.float64]


class LayerRates(NamedTuple):
    """Rates of layers 1 … d; NaN where fewer than two nets are alive on both sides of the layer.

    Attributes:
        log: Shape (d,), nats per layer.
        variance: Shape (d,), of the ratio over nets, relative to its squared mean.
        nets: Shape (d,), how many nets are alive on both sides of the layer.
    """

    log: Array
    variance: Array
    nets: Array

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where at least two nets are alive, (d,)."""
        return self.nets >= 2

    @property
    def judged(self) -> Array:
        """The known rates, for a verdict; if there are none, one NaN, which is the worst verdict."""
        return self.log[self.known] if self.known.any() else np.array([math.nan])

    @property
    def drift_error(self) -> float:
        """Standard error of the drift, (known layers) × (mean rate of their later half), for independent ratios."""
        variance, nets = self.variance[self.known], self.nets[self.known]
        late = slice(len(nets) // 2, None)
        if not len(nets):
            return 0.0
        return float(len(nets) / len(nets[late]) * math.sqrt((variance[late] / nets[late]).sum()))


def rates(ratios: Array) -> LayerRates:
    """log E[M_j / M_{j−1}] from a sample of nets.

    The logarithm of a mean of N ratios is too low by variance / (2 N mean²), up to O(1/N²), by the delta method; this
    is added. The sum over layers is log E[M_j] in fully connected nets, in which the ratio of a layer's length to that
    of its input does not depend on the input (Hanin & Rolnick 2018, arXiv:1803.01719).

    Args:
        ratios: M_j / M_{j−1}, shape (nets, d), NaN where a net is dead.
    """
    mean, squares, nets = _moments(ratios)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = squares / mean**2
        log = np.log(mean) + variance / (2 * np.maximum(nets, 1))
    return LayerRates(np.where(nets >= 2, log, math.nan), np.where(nets >= 2, variance, math.nan), nets)


def ratios_forward(lengths: Array) -> Array:
    """M_j / M_{j−1}, (nets, d), from lengths (nets, d + 1); NaN where either is 0, that is, where a net is dead."""
    return _ratios(lengths[:, 1:], lengths[:, :-1])


def ratios_backward(gradients: Array) -> Array:
    """G_{j−1} / G_j, (nets, d), from squared gradients (nets, d + 1); NaN where either is 0, or NaN, not reached."""
    after, before = gradients[:, :-1], gradients[:, 1:]
    return np.where(np.isnan(after) | np.isnan(before), math.nan, _ratios(after, before))


def spread(lengths: list[Array]) -> Array:
    """log(E[r²] / E[r]²) / 5 of each layer's ratio r = M_j(x) / M_{j−1}(x) over nets: its share of an effective beta.

    The variance is over nets at one input, and then averaged over inputs. The sum over layers is the effective beta:
    Π_j E[r_j²] / E[r_j]² = Π_j (1 + 5/n_j) ≈ exp(5 beta) in fully connected Gaussian ReLU nets, where it equals beta
    up to O(1/n²). It is an upper bound where ratios of different layers compensate each other, as after a
    normalization or on a plateau that biases maintain, since they are treated as independent.

    Args:
        lengths: For each of layers 0 … d, shape (nets, samples).

    Returns:
        Shape (d,).
    """
    shares = []
    for before, after in pairwise(lengths):
        if before.shape != after.shape:  # layers with different numbers of samples: compare the means over samples
            before, after = before.mean(1, keepdims=True), after.mean(1, keepdims=True)
        varying = relative_variance(_ratios(after, before, dead=before == 0))
        shares.append(math.log1p(varying) / 5)
    total = math.fsum(shares)
    return np.array(shares) * (min(1.0, spread_limit(lengths) / total) if 0 < total < math.inf else 1.0)


def spread_limit(lengths: list[Array]) -> float:
    """An upper bound of the sum of `spread`: the greatest Var[log M_j] / 5 over layers, with 97.5% confidence.

    s² (N − 1) / χ²_{N−1}(0.025), where s² is the variance of log(M_j(x) / M_0(x)) over N living nets, averaged over
    inputs. For ten nets that is 3.3 s², so that it only matters where ratios compensate each other.

    Args:
        lengths: For each of layers 0 … d, shape (nets, samples).

    Returns:
        Infinity where layers differ in samples, or fewer than two nets are alive and finite.
    """
    greatest, first = 0.0, lengths[0]
    for layer in lengths[1:]:
        alive = ((layer > 0) & (first > 0)).all(1) if layer.shape == first.shape else np.zeros(len(layer), bool)
        nets = int(alive.sum())
        if nets < 2 or not np.isfinite(layer[alive]).all():
            return math.inf
        variance = float(np.log(layer[alive] / first[alive]).var(0, ddof=1).mean())
        greatest = max(greatest, variance * (nets - 1) / float(chi2.ppf(0.025, nets - 1)))
    return greatest / 5


def relative_variance(ratios: Array) -> float:
    """Relative variance over nets, pooled over inputs, of ratios (nets, samples); 0 where no net is alive."""
    moments = _moments(ratios)
    mean, variance, nets = (values[moments[2] >= 2] for values in moments)
    with np.errstate(invalid="ignore", over="ignore"):
        square = (mean**2 - variance / nets).sum()  # mean² alone is too high by the variance of the mean
        return float(variance.sum() / square if square > 0 else (math.inf if variance.sum() > 0 else 0.0))


def _moments(ratios: Array) -> tuple[Array, Array, Array]:
    """Mean, variance and number of the nets that are not NaN, for each column of (nets, columns)."""
    alive = ~np.isnan(ratios)
    nets = alive.sum(0)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.where(alive, ratios, 0).sum(0) / np.maximum(nets, 1)
        variance = np.where(alive, (ratios - mean) ** 2, 0).sum(0) / np.maximum(nets - 1, 1)
    return mean, variance, nets


def _ratios(after: Array, before: Array, *, dead: NDArray[np.bool_] | None = None) -> Array:
    dead = (after == 0) | (before == 0) if dead is None else dead
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = after / before
    return np.where(dead, math.nan, np.where(np.isnan(ratio), math.inf, ratio))  # inf / inf has exploded
