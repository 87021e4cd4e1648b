"""Whether a noisy curve falls or rises at its end, compared with its noise and with the smallest change that counts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import theilslopes

from start_training.schedules.curves import Array

SIGMAS = 3.0  # standard errors that a change must exceed
MAD = 1.4826  # standard deviation of a normal law, divided by its median absolute value


@dataclass(frozen=True)
class Trend:
    """A curve, smoothed, with its noise and with what it does at its end.

    The end is the last sixth of the values, two or more. The window whose slope is judged is the last third, four or
    more. Running medians span a twelfth.

    Attributes:
        steps: Shape (n,), n ≥ 4, rising.
        values: Shape (n,), in nats (see `relative`), so that a change of 0.1 is a change by a tenth.
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
        """The standard deviation of single values, from the distance of each to the line between its neighbours.

        It is a median (the lower one of an even number), so that a jump does not count, over the later two thirds,
        since the beginning is steep and curved. Curvature adds to it, so that short curves are judged with more
        caution. The median of few values is small by chance, and is multiplied by 1 + 3/n.
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
        """How far noise alone may place the end above the smoothed minimum, at most."""
        return self._luck + float(SIGMAS * self.noise / np.sqrt(self.end))

    @property
    def lowest(self) -> float:
        """The smoothed minimum, corrected for the amount by which noise lowers a minimum."""
        return float(self.smooth.min()) + self._luck

    @property
    def _luck(self) -> float:
        """How far noise lowers the least of k means of w values: about σ √(2 log k / w)."""
        return float(self.noise * np.sqrt(2 * np.log(len(self.values) / self.width) / self.width))

    @property
    def last_low(self) -> int:
        """The index of the last smoothed value that is within noise of the minimum, after which a rise begins."""
        before = self.smooth[: -self.end]
        return int(np.flatnonzero(before <= before.min() + min(self.margin, self.rise() / 2))[-1])

    def at_end(self) -> float:
        """The median of the values at the end."""
        return float(np.median(self.values[-self.end :]))

    def rise(self) -> float:
        """How far the end is above the smoothed minimum before it; 0 where it is below."""
        return max(self.at_end() - float(self.smooth[: -self.end].min()), 0.0)

    def rises(self, matters: float) -> bool:
        """Whether `rise` is more than `matters`, and more than noise (which also lowers the minimum of n values)."""
        return self.rise() > max(matters, self.margin)

    def fall(self) -> float:
        """By how much the line through the window falls: Theil and Sen's, the median slope of all pairs of values.

        A spike does not tilt it; its standard error under normal noise is about that of least squares.
        """
        steps, values = self.steps[-self.window :], self.values[-self.window :]
        return -float(theilslopes(values, steps).slope * (steps[-1] - steps[0]))

    def falls(self, matters: float) -> bool:
        """Whether `fall` is more than `matters` and more than noise, and the fall goes on to the end.

        It goes on where the end is below the same number of values before it by more than a third of `matters`.
        """
        steps = self.steps[-self.window :]
        error = self.noise * (steps[-1] - steps[0]) / np.sqrt(((steps - steps.mean()) ** 2).sum())
        goes_on = np.median(self.values[-2 * self.end : -self.end]) - self.at_end() > matters / 3
        return bool(goes_on and self.fall() > max(matters, SIGMAS * error))


def relative(values: Array, top: float, *, floor: float) -> Array:
    """log(value + floor · top), in which a change by 0.1 is a change by a tenth of value and floor together.

    Args:
        values: Losses, shape (n,).
        top: The height of the whole curve, such as the loss of a guess.
        floor: The share of `top` below which changes of a loss hardly count.

    Returns:
        Shape (n,), in nats.
    """
    return np.log(np.maximum(values, 0.0) + max(floor * top, np.finfo(np.float64).tiny))
