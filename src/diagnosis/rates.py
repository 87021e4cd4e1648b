"""Rates per layer, their standard errors, and the spread over nets, from few nets.

Over nets the length of a deep layer is so heavy-tailed that a mean of ten says nothing; the ratios M_j / M_{j−1} are
nearly independent of each other and light-tailed. So everything here is made of ratios.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Array = NDArray[np.float64]


class Rates(NamedTuple):
    """log: nats per layer, (d,). variance: of a ratio over nets, relative to its squared mean, (d,).

    nets: how many were alive on both sides of the layer, (d,). Where fewer than two were, log is NaN and nets < 2.
    """

    log: Array
    variance: Array
    nets: Array

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where there were nets enough to tell, (d,)."""
        return self.nets >= 2

    @property
    def judged(self) -> Array:
        """What a verdict goes by: the known rates; one NaN, the worst of verdicts, where there is none."""
        return self.log[self.known] if self.known.any() else np.array([math.nan])

    @property
    def drift_error(self) -> float:
        """Standard error of the drift, (known layers) × (mean rate of their later half): independent ratios."""
        variance, nets = self.variance[self.known], self.nets[self.known]
        late = slice(len(nets) // 2, None)
        if not len(nets):
            return 0.0
        return float(len(nets) / len(nets[late]) * math.sqrt((variance[late] / nets[late]).sum()))


def rates(ratios: Array) -> Rates:
    """log E[M_j / M_{j−1}] from a sample of nets, (nets, d), NaN where a net is dead.

    The logarithm of a mean of N ratios is low by variance / (2 N mean²) up to O(1/N²), by the delta method, which is
    put back. Given its input a layer of a fully connected net multiplies lengths by a ratio that does not depend on it
    (Hanin & Rolnick 2018, arXiv:1803.01719), so that log E[M_j] is the sum of these.
    """
    alive = ~np.isnan(ratios)
    nets = alive.sum(0)
    count = np.maximum(nets, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(alive, ratios, 0).sum(0) / count
        squares = np.where(alive, (ratios - mean) ** 2, 0).sum(0) / np.maximum(nets - 1, 1)
        variance = squares / mean**2
        log = np.log(mean) + variance / (2 * count)
    return Rates(np.where(nets >= 2, log, math.nan), np.where(nets >= 2, variance, math.nan), nets)


def ratios_forward(lengths: Array) -> Array:
    """M_j / M_{j−1}, (nets, d) from (nets, d + 1), NaN where either is 0: of living nets alone."""
    return _ratios(lengths[:, 1:], lengths[:, :-1])


def ratios_backward(gradients: Array) -> Array:
    """G_{j−1} / G_j of the squared gradients, (nets, d) from (nets, d + 1), NaN where either is 0."""
    return _ratios(gradients[:, :-1], gradients[:, 1:])


def spread(lengths: list[Array]) -> Array:
    """log E[r²]/E[r]² of each layer's ratio r = M_j(x) / M_{j−1}(x) over nets, divided by 5; (d,).

    lengths: for layers 0 … d, (nets, samples): the variance is over nets at one input, then averaged over inputs.
    Its sum over layers is an effective beta: Π_j E[r_j²]/E[r_j]² = Π_j (1 + 5/n_j) ≈ exp(5 beta) in fully connected
    Gaussian ReLU nets, and equal to it up to O(1/n²). Ratios that make up for each other, as after a normalization
    or at a plateau that biases feed, are counted as if they did not: there it is an upper bound.
    """
    each = []
    for before, after in pairwise(lengths):
        if before.shape != after.shape:  # layers that see different numbers of samples: one mean of each
            before, after = before.mean(1, keepdims=True), after.mean(1, keepdims=True)
        varying = relative_variance(_ratios(after, before, dead=before == 0))
        each.append(math.log1p(varying) / 5)
    total = math.fsum(each)
    return np.array(each) * (min(1.0, spread_limit(lengths) / total) if 0 < total < math.inf else 1.0)


def spread_limit(lengths: list[Array]) -> float:
    """What the spread cannot exceed (97.5%): the greatest Var[log M_j] / 5 over layers that so few nets allow.

    s² (N − 1) / χ²_{N−1}(0.025), s² the variance of log(M_j(x) / M_0(x)) over N living nets, averaged over inputs. For
    ten nets that is 3.3 s², so that it only matters where ratios make up for each other.
    """
    greatest = 0.0
    for layer in lengths[1:]:
        alive = layer[((layer > 0) & (lengths[0] > 0)).all(1)] if layer.shape == lengths[0].shape else layer[:0]
        start = lengths[0][((layer > 0) & (lengths[0] > 0)).all(1)] if len(alive) else alive
        if len(alive) < 2 or not np.isfinite(alive).all():
            return math.inf
        variance = float(np.log(alive / start).var(0, ddof=1).mean())
        greatest = max(greatest, variance * (len(alive) - 1) / float(chi2.ppf(0.025, len(alive) - 1)))
    return greatest / 5


def relative_variance(ratios: Array) -> float:
    """Relative variance over nets, pooled over inputs, of ratios (nets, samples); 0 where nothing is alive."""
    alive = ~np.isnan(ratios)
    nets = alive.sum(0)
    ratios, alive, nets = ratios[:, nets >= 2], alive[:, nets >= 2], nets[nets >= 2]
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.where(alive, ratios, 0).sum(0) / nets
        variance = np.where(alive, (ratios - mean) ** 2, 0).sum(0) / (nets - 1)
        square = (mean**2 - variance / nets).sum()  # mean² alone is high by the variance of the mean
        relative = variance.sum() / square if square > 0 else (math.inf if variance.sum() > 0 else 0.0)
    return float(relative)


def _ratios(after: Array, before: Array, *, dead: NDArray[np.bool_] | None = None) -> Array:
    dead = (after == 0) | (before == 0) if dead is None else dead
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = after / before
    return np.where(dead, math.nan, np.where(np.isnan(ratio), math.inf, ratio))  # inf / inf has exploded
