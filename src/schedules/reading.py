"""What of a run's curves is a fall, a rise, or neither: the measurements behind the clues."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from start_training.schedules.curves import Curves
from start_training.schedules.trend import Trend, relative

MATTERS = 0.10  # of a loss: a smaller change is no fall and no rise
FLOOR = 0.05  # of a guess's loss, added to every loss: near zero, changes that are small beside that do not matter
LEARNED = 0.05  # of a guess's loss: who has not come so far below it has learned nothing


@dataclass(frozen=True)
class Reading:
    """Curves with m ≥ 6 validations, and the trends of the logarithms of their losses above the floor."""

    curves: Curves

    @cached_property
    def validation(self) -> Trend:
        return Trend(self.curves.steps, relative(self.curves.validation, self.curves.top, floor=FLOOR))

    @cached_property
    def training(self) -> Trend:
        return Trend(self.curves.steps, relative(self.curves.training, self.curves.top, floor=FLOOR))

    @cached_property
    def falls(self) -> bool:
        """Whether validation loss still falls at the end, so fast that as long again brings it to its lowest."""
        return self.validation.falls(MATTERS) and self.validation.rise() <= self.validation.fall()

    @cached_property
    def rises(self) -> bool:
        """Whether validation loss is higher at the end than it has been, and not on its way back."""
        return not self.falls and self.validation.rises(MATTERS)

    @cached_property
    def both_rise(self) -> bool:
        """Whether training loss, too, is higher at the end than it has been, or no better than a guess's."""
        return self.rises and (self.training.rises(MATTERS) or self.training.at_end() > self._learned)

    @property
    def has_learned(self) -> bool:
        """Whether either loss was ever clearly below that of a guess."""
        return bool(np.fmin(self.validation.lowest, self.training.lowest) < self._learned)

    @property
    def is_lost(self) -> bool:
        """Whether both losses are those of a guess at the end, or that of validation if training's is not known."""
        ends = np.fmin(self.validation.at_end(), self.training.at_end())
        return not self.falls and bool(ends > self._learned)

    @cached_property
    def turn(self) -> int:
        """The validation from which on its loss is above its lowest; where both rise, both losses."""
        return max(self.validation.last_low, self.training.last_low) if self.both_rise else self.validation.last_low

    @property
    def calm(self) -> int:
        """The validation from which on its loss stays near its end."""
        end = self.validation.at_end()
        far = np.flatnonzero(np.abs(self.validation.smooth - end) > max(MATTERS, self.validation.margin))
        return min(int(far[-1]) + 1, len(self.curves.steps) - 1) if len(far) else 0

    @property
    def last_third(self) -> int:
        """The validation at which the stretch begins whose fall is judged."""
        return len(self.curves.steps) - self.validation.window

    @property
    def _learned(self) -> float:
        return float(np.log((1 - LEARNED + FLOOR) * self.curves.top))

    def loss_at_end(self) -> float:
        """Median validation loss at the end."""
        return float(np.median(self.curves.validation[-self.validation.end :]))

    def training_at_end(self) -> float:
        """Median training loss at the end; NaN where it was not measured."""
        return float(np.median(self.curves.training[-self.validation.end :]))
