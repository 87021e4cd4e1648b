"""Whether a noisy curve fell or rose, against its own noise and against a size that matters."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

Array = NDArray[np.float64]

SIGMAS = 3.0  # standard errors that a change must exceed
MAD = 1.4826  # a normal law's deviation over its median absolute value


@dataclass(frozen=True)
class Trend:
    """A curve of n ≥ 4 values at rising steps, both (n,), and what can be said of its end.

    Values are in nats (see `relative`): a change of 0.1 is one of a tenth. The end is the last sixth, two values or
    more; the window whose slope is judged the last third, four or more; smoothing spans a twelfth.
    """

    steps: Array
    values: Array

    @property
    def end(self) -> int:
        return max(2, len(self.values) // 6)

    @property
    def window(self) -> int:
        return max(4, len(self.values) // 3)

    @property
    def width(self) -> int:
        return 2 * (len(self.values) // 24) + 1

    @cached_property
    def noise(self) -> float:
        """The deviation of single values, from how far each lies off the line between its neighbours.

        A median (of an even number the lower), so that a jump does not count; of the later two thirds, as the steep
        beginning is curved. Curvature adds to it, so that short curves are judged with more caution. Of few values it
        is small by chance, and is taken 1 + 3/n larger.
        """
        before, at, after = self.steps[:-2], self.steps[1:-1], self.steps[2:]
        left = (after - at) / (after - before)
        off = self.values[1:-1] - left * self.values[:-2] - (1 - left) * self.values[2:]
        scaled = np.abs(off) / np.sqrt(1 + left**2 + (1 - left) ** 2)
        late = scaled[len(scaled) // 3 :]
        return float(MAD * np.quantile(late, 0.5, method="lower") * (1 + 3 / len(late)))

    @cached_property
    def smooth(self) -> Array:
        """Running medians, of shape (n,)."""
        padded = np.pad(self.values, self.width // 2, mode="reflect")
        return np.median(np.lib.stride_tricks.sliding_window_view(padded, self.width), axis=1)

    @property
    def margin(self) -> float:
        """How far above the smoothed minimum noise alone may leave the end."""
        return self._luck + float(SIGMAS * self.noise / np.sqrt(self.end))

    @property
    def lowest(self) -> float:
        """The smoothed minimum, less what noise may have taken from it."""
        return float(self.smooth.min()) + self._luck

    @property
    def _luck(self) -> float:
        """How far below the others noise leaves the least of k means of w values: about σ √(2 log k / w)."""
        return float(self.noise * np.sqrt(2 * np.log(len(self.values) / self.width) / self.width))

    @property
    def last_low(self) -> int:
        """The index of the last smoothed value that noise does not set apart from the least: a rise begins there."""
        before = self.smooth[: -self.end]
        return int(np.flatnonzero(before <= before.min() + min(self.margin, self.rise() / 2))[-1])

    def at_end(self) -> float:
        """The median of the end."""
        return float(np.median(self.values[-self.end :]))

    def rise(self) -> float:
        """By how much the end lies above the smoothed minimum before it."""
        return max(self.at_end() - float(self.smooth[: -self.end].min()), 0.0)

    def rises(self, matters: float) -> bool:
        """Whether that is more than `matters` and than noise, of which the least of n values has its share."""
        return self.rise() > max(matters, self.margin)

    def fall(self) -> float:
        """By how much a line through the window falls: Theil and Sen's, the median slope of all pairs of values.

        A spike does not tilt it; of a normal law's noise it makes as much as least squares do.
        """
        steps, values = self.steps[-self.window :], self.values[-self.window :]
        return -float(theilslopes(values, steps).slope * (steps[-1] - steps[0]))

    def falls(self, matters: float) -> bool:
        """Whether that is more than `matters` and than noise, and goes on to the end.

        It does where the end lies below as many values before it by more than a third of `matters`.
        """
        steps = self.steps[-self.window :]
        error = self.noise * (steps[-1] - steps[0]) / np.sqrt(((steps - steps.mean()) ** 2).sum())
        goes_on = np.median(self.values[-2 * self.end : -self.end]) - self.at_end() > matters / 3
        return bool(goes_on and self.fall() > max(matters, SIGMAS * error))


def relative(values: Array, top: float, *, floor: float) -> Array:
    """log(value + floor · top), where a change of 0.1 is one of a tenth of the value and the floor together.

    The floor keeps changes that are small beside the whole curve's height `top` from mattering where losses near 0.
    """
    return np.log(np.maximum(values, 0.0) + max(floor * top, np.finfo(np.float64).tiny))
