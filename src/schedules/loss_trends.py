"""Whether the losses of a run fall, rise or stay at its end: the measurements behind its verdict."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from start_training.schedules.curves import Curves
from start_training.schedules.trend import Trend, relative

MATTERS = 0.10  # of a loss: a smaller change counts as neither a fall nor a rise
FLOOR = 0.05  # of a guess's loss, added to every loss, so that changes of a loss near zero do not count
LEARNED = 0.05  # of a guess's loss: a net whose loss is not this far below it has learned nothing


@dataclass(frozen=True)
class LossTrends:
    """Curves with m ≥ 6 validations, and the trends of the logarithms of their losses plus the floor."""

    curves: Curves

    @cached_property
    def validation(self) -> Trend:
        return Trend(self.curves.steps, relative(self.curves.validation, self.curves.top, floor=FLOOR))

    @cached_property
    def training(self) -> Trend:
        return Trend(self.curves.steps, relative(self.curves.training, self.curves.top, floor=FLOOR))

    @cached_property
    def falls(self) -> bool:
        """Whether validation loss still falls at the end, so fast that as many steps again reach its minimum."""
        return self.validation.falls(MATTERS) and self.validation.rise() <= self.validation.fall()

    @cached_property
    def rises(self) -> bool:
        """Whether validation loss is higher at the end than before, and does not fall at the end."""
        return not self.falls and self.validation.rises(MATTERS)

    @cached_property
    def both_rise(self) -> bool:
        """Whether validation loss rises and training loss does too, or is no better than a guess's at the end."""
        return self.rises and (self.training.rises(MATTERS) or self.training.at_end() > self._learned)

    @property
    def has_learned(self) -> bool:
        """Whether either loss was ever clearly below that of a guess."""
        return bool(np.fmin(self.validation.lowest, self.training.lowest) < self._learned)

    @property
    def is_lost(self) -> bool:
        """Whether both losses are those of a guess at the end; of validation only if training's is unknown."""
        ends = np.fmin(self.validation.at_end(), self.training.at_end())
        return not self.falls and bool(ends > self._learned)

    @cached_property
    def turn(self) -> int:
        """The index of the validation after which the loss rises; if both losses rise, after which both do."""
        return max(self.validation.last_low, self.training.last_low) if self.both_rise else self.validation.last_low

    @property
    def calm(self) -> int:
        """The index of the validation from which on the loss stays near its value at the end."""
        end = self.validation.at_end()
        far = np.flatnonzero(np.abs(self.validation.smooth - end) > max(MATTERS, self.validation.margin))
        return min(int(far[-1]) + 1, len(self.curves.steps) - 1) if len(far) else 0

    @property
    def _learned(self) -> float:
        return float(np.log((1 - LEARNED + FLOOR) * self.curves.top))

    @property
    def validation_at_end(self) -> float:
        """Median validation loss at the end, in nats."""
        return float(np.median(self.curves.validation[-self.validation.end :]))

    @property
    def training_at_end(self) -> float:
        """Median training loss at the end, in nats; NaN where it was not measured."""
        return float(np.median(self.curves.training[-self.validation.end :]))
