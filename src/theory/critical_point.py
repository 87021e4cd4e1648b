"""The length map, from the pre-activation variance of a wide layer to that of the next, and its critical points."""

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from start_training.settings import PositiveNumber, checked
from start_training.theory.activation import Activation, Array

POINTS = 40_000
REACH = 10.0  # standard deviations; a normal variable lies beyond them with probability 1e-23
SEARCHED = (1e-4, 1e4)  # range of q in which the nearest critical point is searched
_PER_DECADE = 20
_TAIL = 1e-6  # greatest share of a mean that may come from the last deviation before REACH
_TOLERANCE = 1e-9  # for rounding: a homogeneous activation has slope 1 and bias variance 0


class ActivationMoments(NamedTuple):
    """Means over x = √q z, z ~ N(0, 1), of an activation φ.

    Args:
        second: E[φ(x)²].
        derivative: E[φ′(x)²].
        slope: d E[φ(x)²] / dq = E[φ(x) φ′(x) z] / √q.
    """

    second: float
    derivative: float
    slope: float


@dataclass(frozen=True)
class CriticalPoint:
    """Weight and bias variances of a wide layer that preserve gradients and the variance q of pre-activations.

    q is then a stable fixed point of `length_map`, and chi = 1.

    Args:
        q: Variance of pre-activations.
        weight_variance: σ_w² = fan_in · Var W.
        bias_variance: σ_b².
        slope: Derivative of the length map at q, by which each layer multiplies deviations from q. It is 1 for a
            homogeneous activation, for which every q is a fixed point.
    """

    q: float
    weight_variance: float
    bias_variance: float
    slope: float


def chi(activation: Activation, q: float, weight_variance: float) -> float:
    """Compute chi = σ_w² E[φ′(√q z)²], by which an infinitely wide layer multiplies squared gradients.

    Squared small perturbations of the layer's input are multiplied by chi, too.

    Source: Poole et al. 2016 (arXiv:1606.05340); Schoenholz et al. 2017 (arXiv:1611.01232).

    Args:
        activation: φ.
        q: Variance of the layer's pre-activations.
        weight_variance: σ_w² = fan_in · Var W.

    Example:
        >>> from start_training.theory.activation import RELU
        >>> round(chi(RELU, 1.0, 2.0), 6)  # He's variance is critical
        1.0
    """
    return weight_variance * moments(activation, q).derivative


def length_map(activation: Activation, q: float, weight_variance: float, bias_variance: float = 0.0) -> float:
    """Compute the pre-activation variance of the next layer, σ_w² E[φ(√q z)²] + σ_b², at infinite width.

    Source: Poole et al. 2016 (arXiv:1606.05340).

    Args:
        activation: φ.
        q: Variance of this layer's pre-activations.
        weight_variance: σ_w² = fan_in · Var W.
        bias_variance: σ_b².
    """
    return weight_variance * moments(activation, q).second + bias_variance


def moments(activation: Activation, q: float) -> ActivationMoments:
    """Compute the Gaussian moments of an activation by the midpoint rule.

    The error is at rounding level for smooth activations and for a kink at 0, and up to 1e-3 for kinks elsewhere (hard
    tanh, ReLU6). The result is NaN for activations that grow so fast that values beyond `REACH` determine the mean.

    Args:
        activation: φ.
        q: Variance of the normal variable to which φ is applied.
    """
    z, weights = _nodes()
    with np.errstate(all="ignore"):  # a non-finite value makes the mean non-finite, which callers check
        phi, derivative = activation.value(math.sqrt(q) * z), activation.derivative(math.sqrt(q) * z)
        terms = weights * np.stack([phi**2, derivative**2, phi * derivative * z / math.sqrt(q)])
    means, tails = terms.sum(-1), np.abs(terms[:, np.abs(z) > REACH - 1]).sum(-1)
    return ActivationMoments(*map(float, np.where(tails <= _TAIL * np.abs(terms).sum(-1), means, math.nan)))


@checked
def critical_point(activation: Activation, q: PositiveNumber, *, name: str = "this activation") -> CriticalPoint:
    """Compute the weight and bias variances with which wide layers preserve gradients and pre-activation variance q.

    They are σ_w² = 1 / E[φ′(√q z)²] and σ_b² = q − σ_w² E[φ(√q z)²], for which chi = 1 and length_map(q) = q. Tanh has
    a critical point at every q > 0, GELU at q ≥ (3 + √17)/2, SiLU at q ≥ 14.32.
    Source: Poole et al. 2016 (arXiv:1606.05340) and Schoenholz et al. 2017 (arXiv:1611.01232) for tanh; Roberts, Yaida
    & Hanin 2022 (arXiv:2106.10165), chapter 5, for GELU and SiLU.

    Args:
        activation: φ.
        q: Variance of pre-activations, the same in all layers.
        name: Name of the activation in the error message.

    Raises:
        ValueError: σ_b² < 0, or the fixed point is not stable, |slope| > 1; the message names the nearest q that has a
            stable critical point.

    Example:
        >>> from start_training.theory.activation import ACTIVATIONS
        >>> point = critical_point(ACTIVATIONS["gelu"], q=10.0)
        >>> round(point.weight_variance, 3), round(point.bias_variance, 3)
        (1.956, 0.323)
    """
    point = _candidate(activation, q)
    if reason := _fault(point):
        nearest = _nearest(activation, q)
        none = f"it has none at any q from {SEARCHED[0]:g} to {SEARCHED[1]:g} either"
        others = f"the nearest is at q = {nearest:.3g}" if nearest else none
        raise ValueError(f"q = {q:g}: {name} has no stable critical point at this q ({reason}); {others}")
    return point


@cache
def _nodes() -> tuple[Array, Array]:
    step = 2 * REACH / POINTS  # POINTS is even: a kink at zero lies between two of them
    z = (np.arange(POINTS, dtype=np.float64) + 0.5) * step - REACH
    return z, step * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _candidate(activation: Activation, q: float) -> CriticalPoint:
    """Solve chi = 1 and length map(q) = q for the two variances, which are NaN without a solution; stable or not."""
    mean = moments(activation, q)
    weight_variance = 1 / mean.derivative if mean.derivative > 0 else math.nan
    bias_variance = q - weight_variance * mean.second
    if abs(bias_variance) < _TOLERANCE * q:
        bias_variance = 0.0
    return CriticalPoint(q, weight_variance, bias_variance, weight_variance * mean.slope)


def _fault(point: CriticalPoint) -> str | None:
    if not all(map(math.isfinite, (point.weight_variance, point.bias_variance, point.slope))):
        return "the mean square of the activation or of its derivative is not a finite number above 0"
    if point.bias_variance < 0:
        return f"the biases would need a negative variance, {point.bias_variance:.3g}"
    if abs(point.slope) > 1 + _TOLERANCE:
        near_one = f"{point.slope:.4g}" == "1"
        slope = f"1 + {point.slope - 1:.1g}" if near_one else f"{point.slope:.4g}"
        return f"the fixed point is unstable: the length map has slope {slope}"
    return None


def _nearest(activation: Activation, q: float) -> float | None:
    """Find the value nearest to `q` (by ratio) in `SEARCHED` with a stable critical point, to three digits, or None."""
    low, high = map(math.log10, SEARCHED)
    grid = 10 ** np.linspace(low, high, round((high - low) * _PER_DECADE) + 1)
    for good in sorted(grid, key=lambda other: _ratio(other, q)):
        if _is_good(activation, good):
            step = min(10 ** (1 / _PER_DECADE), _ratio(good, q))
            return _edge(activation, good, good * step if good < q else good / step)
    return None


def _edge(activation: Activation, good: float, bad: float) -> float:
    """Find the end of the range of q with a stable critical point by bisection, to three digits.

    Args:
        activation: φ.
        good: A value of q with a stable critical point.
        bad: A value of q without one.
    """
    on_grid = good
    for _ in range(20):
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if _is_good(activation, middle) else (good, middle)
    unit = 10.0 ** (math.floor(math.log10(good)) - 2)
    rounded = (math.ceil if good > bad else math.floor)(good / unit) * unit
    return rounded if _is_good(activation, rounded) else on_grid


def _is_good(activation: Activation, q: float) -> bool:
    return _fault(_candidate(activation, q)) is None


def _ratio(q: float, other: float) -> float:
    return max(q / other, other / q)
