"""Independent weights whose variance is a scale divided by a fan (He, Glorot and LeCun initialization)."""

import math
from typing import Annotated, NamedTuple

from torch import Generator, Tensor

from start_training.initializers.initializer import Fans, Initializer
from start_training.settings import OneOf, PositiveNumber, checked


class _Shape(NamedTuple):
    """Variance and kurtosis of a distribution with nominal variance 1; truncation reduces the true variance."""

    variance: float
    kurtosis: float


def _truncated_normal(cut: float) -> _Shape:
    """Compute the variance and kurtosis of a standard normal truncated to [-cut, cut] and not rescaled.

    With phi the density and Z = erf(cut / √2) the remaining mass, integration by parts gives
    E[z²] = 1 − 2 cut phi(cut) / Z and E[z⁴] = 3 E[z²] − 2 cut³ phi(cut) / Z.
    """
    edge = 2 * cut * math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi) / math.erf(cut / math.sqrt(2))
    second = 1 - edge
    fourth = 3 * second - cut**2 * edge
    return _Shape(variance=second, kurtosis=fourth / second**2)


CUT = 2.0  # standard deviations, as in the truncated normal of arXiv:1803.01719
SHAPES = {
    "normal": _Shape(variance=1.0, kurtosis=3.0),
    "uniform": _Shape(variance=1.0, kurtosis=9 / 5),
    "truncated_normal": _truncated_normal(CUT),  # variance 0.7737, kurtosis 2.366
}
FAN_MODES = ("fan_in", "fan_out", "fan_average")


class VarianceScaling(Initializer):
    """Independent symmetric weights of nominal variance scale / fan.

    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), section 3; He et al. 2015 (arXiv:1502.01852); Glorot & Bengio 2010.

    Args:
        scale: Nominal variance times the fan: 2 for He initialization, 1 for LeCun's and Glorot's.
        fan_mode: `fan_in`, `fan_out`, or `fan_average`, the mean of both.
        distribution: `normal`, `uniform`, or `truncated_normal`, cut at two nominal standard deviations and *not*
            rescaled, so that its true variance is 0.7737 times the nominal one. (Keras and JAX rescale it; the
            initialization that fails in arXiv:1803.01719 is not rescaled.)

    Raises:
        ValueError: scale is not positive, or fan_mode or distribution is not one of the names above.

    Example:
        >>> VarianceScaling(2.0, "fan_average").kappa(Fans(fan_in=300, fan_out=100))
        3.0
    """

    @checked
    def __init__(
        self,
        scale: PositiveNumber,
        fan_mode: Annotated[str, OneOf(FAN_MODES)] = "fan_in",
        distribution: Annotated[str, OneOf(SHAPES)] = "normal",
    ) -> None:
        self.scale = scale
        self.fan_mode = fan_mode
        self.distribution = distribution

    def __call__(self, weight: Tensor, generator: Generator | None = None) -> None:
        self._fill_(weight, Fans.of(weight), generator)

    def fill_many_(self, weights: Tensor, generator: Generator | None = None) -> None:
        self._fill_(weights, Fans.of(weights[0]), generator)

    def fill_with_fans_(self, weights: Tensor, fans: Fans, generator: Generator | None = None) -> None:
        self._fill_(weights, fans, generator)

    def _fill_(self, weight: Tensor, fans: Fans, generator: Generator | None) -> None:
        deviation = math.sqrt(self._nominal_variance(fans))
        if self.distribution == "normal":
            weight.normal_(0.0, deviation, generator=generator)
        elif self.distribution == "uniform":
            bound = math.sqrt(3) * deviation
            weight.uniform_(-bound, bound, generator=generator)
        else:
            _fill_truncated_(weight, deviation, generator)

    def variance(self, fans: Fans) -> float:
        return SHAPES[self.distribution].variance * self._nominal_variance(fans)

    def kurtosis(self, fans: Fans) -> float:
        return SHAPES[self.distribution].kurtosis

    def __repr__(self) -> str:
        return f"VarianceScaling(scale={self.scale:g}, {self.fan_mode}, {self.distribution})"

    def _nominal_variance(self, fans: Fans) -> float:
        fan = {
            "fan_in": fans.fan_in,
            "fan_out": fans.fan_out,
            "fan_average": (fans.fan_in + fans.fan_out) / 2,
        }[self.fan_mode]
        return self.scale / fan


def _fill_truncated_(weight: Tensor, deviation: float, generator: Generator | None) -> None:
    """Draw truncated normals by inverting the distribution function; five times faster than `nn.init.trunc_normal_`."""
    mass, cut = math.erf(CUT / math.sqrt(2)), CUT * deviation
    weight.uniform_(-mass, mass, generator=generator).erfinv_().mul_(math.sqrt(2) * deviation).clamp_(-cut, cut)
