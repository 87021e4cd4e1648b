"""Estimate growth rates per layer, their standard errors, and the spread over nets, from a few nets.

The length of a deep layer is so heavy-tailed over nets that the mean over ten nets is far off. The ratios M_j / M_{j−1}
of successive layers are nearly independent of each other and light-tailed, so all estimates are made from ratios.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Array = NDArray[np.float64]


class LayerRates(NamedTuple):
    """Growth rates of layers 1 … d; NaN for a layer if fewer than two nets are alive before and after it.

    Attributes:
        log: Log of the mean ratio of each layer, shape (d,), in nats per layer.
        variance: Variance of the ratio over nets, relative to its squared mean, shape (d,).
        nets: Number of nets that are alive before and after the layer, shape (d,).
    """

    log: Array
    variance: Array
    nets: Array

    @property
    def known(self) -> NDArray[np.bool_]:
        """Mask of the layers whose rate is known, from at least two living nets, shape (d,)."""
        return self.nets >= 2

    @property
    def judged(self) -> Array:
        """The known rates, in nats per layer; a single NaN, which is judged as failure, if no rate is known."""
        return self.log[self.known] if self.known.any() else np.array([math.nan])

    @property
    def drift_error(self) -> float:
        """Standard error, in nats, of the drift: the number of known layers times the mean rate of their later half.

        Ratios of different layers are taken to be independent.
        """
        variance, nets = self.variance[self.known], self.nets[self.known]
        late = slice(len(nets) // 2, None)
        if not len(nets):
            return 0.0
        return float(len(nets) / len(nets[late]) * math.sqrt((variance[late] / nets[late]).sum()))


def rates(ratios: Array) -> LayerRates:
    """Estimate the growth rates log E[M_j / M_{j−1}] of layers 1 … d from a sample of nets.

    The logarithm of a mean of N ratios is too low by variance / (2 N mean²) on average, up to O(1/N²) (delta method);
    this is added. In fully connected nets, in which the ratio does not depend on the input of the layer, the sum of the
    rates is log E[M_d / M_0] (Hanin & Rolnick 2018, arXiv:1803.01719).

    Args:
        ratios: M_j / M_{j−1} of each net, shape (nets, d), NaN if the net is dead.

    Returns:
        The rates, their relative variances over nets, and the numbers of living nets.
    """
    mean, squares, nets = _moments(ratios)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = squares / mean**2
        log = np.log(mean) + variance / (2 * np.maximum(nets, 1))
    return LayerRates(np.where(nets >= 2, log, math.nan), np.where(nets >= 2, variance, math.nan), nets)


def ratios_forward(lengths: Array) -> Array:
    """Return M_j / M_{j−1}, shape (nets, d), from lengths of shape (nets, d + 1); NaN if either is 0 (a dead net)."""
    return _ratios(lengths[:, 1:], lengths[:, :-1])


def ratios_backward(gradients: Array) -> Array:
    """Return G_{j−1} / G_j, shape (nets, d), from squared gradients of shape (nets, d + 1).

    The result is NaN if either gradient is 0, or NaN because the backward pass did not reach the layer.
    """
    after, before = gradients[:, :-1], gradients[:, 1:]
    return np.where(np.isnan(after) | np.isnan(before), math.nan, _ratios(after, before))


def spread(lengths: list[Array]) -> Array:
    """Return the contribution of each layer to the effective beta, the spread of lengths over nets.

    The contribution of layer j is log(E[r²] / E[r]²) / 5 with the ratio r = M_j(x) / M_{j−1}(x); its variance is taken
    over nets at one input x, and then averaged over inputs. In fully connected Gaussian ReLU nets,
    Π_j E[r_j²] / E[r_j]² = Π_j (1 + 5/n_j) ≈ exp(5 beta), so that the sum over layers equals beta up to O(1/n²).
    Ratios of different layers are treated as independent. If they compensate each other, as after a normalization or
    where biases keep lengths constant, the sum is an upper bound, which is limited to `spread_limit`.

    Args:
        lengths: Lengths of each of layers 0 … d, each of shape (nets, samples).

    Returns:
        Shape (d,).
    """
    shares = []
    for before, after in pairwise(lengths):
        if before.shape != after.shape:  # for layers with different numbers of samples, compare means over samples
            before, after = before.mean(1, keepdims=True), after.mean(1, keepdims=True)
        varying = relative_variance(_ratios(after, before, dead=before == 0))
        shares.append(math.log1p(varying) / 5)
    total = math.fsum(shares)
    return np.array(shares) * (min(1.0, spread_limit(lengths) / total) if 0 < total < math.inf else 1.0)


def spread_limit(lengths: list[Array]) -> float:
    """Return an upper bound of the sum of `spread`, the largest Var[log M_j] / 5 over layers at 97.5% confidence.

    The bound of a variance is s² (N − 1) / χ²_{N−1}(0.025), where s² is the variance of log(M_j(x) / M_0(x)) over the
    N living nets, averaged over inputs. For ten nets it is 3.3 s², so that it only matters if the ratios of different
    layers compensate each other.

    Args:
        lengths: Lengths of each of layers 0 … d, each of shape (nets, samples).

    Returns:
        The bound; infinity if layers differ in their number of samples, fewer than two nets are alive, or a length is
        not finite.
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
    """Return the relative variance over nets of ratios of shape (nets, samples), pooled over samples.

    It is 0 if no sample has two living nets.
    """
    moments = _moments(ratios)
    mean, variance, nets = (values[moments[2] >= 2] for values in moments)
    with np.errstate(invalid="ignore", over="ignore"):
        square = (mean**2 - variance / nets).sum()  # E[mean²] exceeds the squared mean by variance / nets
        return float(variance.sum() / square if square > 0 else (math.inf if variance.sum() > 0 else 0.0))


def _moments(ratios: Array) -> tuple[Array, Array, Array]:
    """Return mean, variance and number of the values that are not NaN, for each column of shape (nets, columns)."""
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
    return np.where(dead, math.nan, np.where(np.isnan(ratio), math.inf, ratio))  # inf / inf: the net has exploded
