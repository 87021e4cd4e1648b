"""Trend of a noisy curve at its end: does it fall or rise by more than its noise and more than a threshold?"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import theilslopes

from start_training.schedules.curves import Array

SIGMAS = 3.0  # a change has to exceed this many standard errors
MAD = 1.4826  # standard deviation of a normal distribution divided by its median absolute deviation


@dataclass(frozen=True)
class Trend:
    """A noisy curve, with its noise, its running median, and its fall or rise at the end.

    The end is the last sixth of the values, at least two. The slope is fitted in a window of the last third of the
    values, at least four. Running medians span a twelfth of the values.

    Attributes:
        steps: Step of each value, shape (n,) with n ≥ 4, increasing.
        values: Logarithm of the curve, shape (n,), in nats (see `relative`); 0.1 is a change by about a tenth.
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
        """Standard deviation of single values, estimated from their distances to the line between their neighbours.

        The estimate is a median of distances (the lower median of an even number), so that a jump does not count. It
        is taken over the later two thirds of the curve, since the beginning is steep and curved. Curvature increases
        it, so that short curves need larger changes. The median of n distances is low on average for small n, and is
        therefore multiplied by 1 + 3/n.
        """
        before, at, after = self.steps[:-2], self.steps[1:-1], self.steps[2:]
        left = (after - at) / (after - before)
        off = self.values[1:-1] - left * self.values[:-2] - (1 - left) * self.values[2:]
        scaled = np.abs(off) / np.sqrt(1 + left**2 + (1 - left) ** 2)
        late = scaled[len(scaled) // 3 :]
        return float(MAD * np.quantile(late, 0.5, method="lower") * (1 + 3 / len(late)))

    @cached_property
    def smooth(self) -> Array:
        """Running median of the values, shape (n,)."""
        padded = np.pad(self.values, self.width // 2, mode="reflect")
        return np.median(np.lib.stride_tricks.sliding_window_view(padded, self.width), axis=1)

    @property
    def margin(self) -> float:
        """Largest distance between the end and the smoothed minimum that noise alone may cause."""
        return self._noise_of_minimum + float(SIGMAS * self.noise / np.sqrt(self.end))

    @property
    def lowest(self) -> float:
        """Minimum of the running median, corrected for the amount by which noise lowers a minimum."""
        return float(self.smooth.min()) + self._noise_of_minimum

    @property
    def _noise_of_minimum(self) -> float:
        """Amount by which noise lowers the minimum of k means of w values, about σ √(2 log k / w)."""
        return float(self.noise * np.sqrt(2 * np.log(len(self.values) / self.width) / self.width))

    @property
    def last_low(self) -> int:
        """Index of the last value of the running median that is within noise of its minimum: a rise begins there."""
        before = self.smooth[: -self.end]
        return int(np.flatnonzero(before <= before.min() + min(self.margin, self.rise() / 2))[-1])

    def at_end(self) -> float:
        return float(np.median(self.values[-self.end :]))

    def rise(self) -> float:
        """Return how far the end is above the minimum of the running median before it, or 0 if it is below."""
        return max(self.at_end() - float(self.smooth[: -self.end].min()), 0.0)

    def rises(self, threshold: float) -> bool:
        """Return whether `rise` exceeds both `threshold` and the part that noise may cause (`margin`)."""
        return self.rise() > max(threshold, self.margin)

    def fall(self) -> float:
        """Return how far the Theil–Sen line (median slope of all pairs of values) falls over the window.

        A single outlier does not tilt this line. Under normal noise its standard error is about that of least squares.
        """
        steps, values = self.steps[-self.window :], self.values[-self.window :]
        return -float(theilslopes(values, steps).slope * (steps[-1] - steps[0]))

    def falls(self, threshold: float) -> bool:
        """Return whether `fall` exceeds both `threshold` and its noise, and the fall continues to the end.

        It continues if the median of the end is lower than the median of as many values before it, by more than a
        third of `threshold`.
        """
        steps = self.steps[-self.window :]
        error = self.noise * (steps[-1] - steps[0]) / np.sqrt(((steps - steps.mean()) ** 2).sum())
        continues = np.median(self.values[-2 * self.end : -self.end]) - self.at_end() > threshold / 3
        return bool(continues and self.fall() > max(threshold, SIGMAS * error))


def relative(values: Array, top: float, *, floor: float) -> Array:
    """Return log(value + floor · top), in which relative changes of the loss have the same size at any loss.

    A difference of 0.1 is a change of (value + floor · top) by about a tenth.

    Args:
        values: Losses, shape (n,).
        top: Height of the whole curve, such as the chance loss.
        floor: Fraction of `top` below which changes of a loss hardly count.

    Returns:
        Shape (n,), in nats.
    """
    return np.log(np.maximum(values, 0.0) + max(floor * top, np.finfo(np.float64).tiny))
