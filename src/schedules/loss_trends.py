"""Trends of the training and validation loss at the end of a run, from which `clues` derives its verdict."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from start_training.schedules.curves import Curves
from start_training.schedules.trend import Trend, relative

MATTERS = 0.10  # relative change of a loss below which it counts as neither a fall nor a rise
CONTINUES = 0.06  # relative fall that counts if training samples are not fitted either, so that there is more to learn
FLOOR = 0.05  # fraction of the chance loss that is added to every loss, so that changes near zero do not count
FITTED = 0.02  # a net has fitted its training samples if their loss is below this fraction of the chance loss
GAP = 0.05  # it has memorized them if validation loss is also this fraction of the chance loss above training loss
GAP_REGULARIZED = 0.10  # the same where weight decay or dropout keeps training loss from going to 0
WHOLLY = 0.001  # fraction of the chance loss below which nothing keeps training loss from going to 0
HELD = 0.05  # fraction of the chance loss above which a training loss may be held up by regularization
JUMPS = 0.10  # noise of the training loss from which it counts as jumping: means of an epoch change by a tenth
UNCLEAR = 0.12  # noise of the validation loss from which it hides a fall or a rise of a tenth
LEARNED = 0.05  # a net has learned if its loss is below the chance loss by more than this fraction of the chance loss


@dataclass(frozen=True)
class LossTrends:
    """The trends of log(loss + floor) for the validation and training loss of curves with at least 6 validations."""

    curves: Curves

    @cached_property
    def validation(self) -> Trend:
        return Trend(self.curves.steps, relative(self.curves.validation, self.curves.top, floor=FLOOR))

    @cached_property
    def training(self) -> Trend:
        return Trend(self.curves.steps, relative(self.curves.training, self.curves.top, floor=FLOOR))

    @cached_property
    def falls(self) -> bool:
        """Whether validation loss still falls at the end, by at least as much as it is above its minimum.

        At this slope, the minimum would be reached again within another window of the same length.
        """
        matters = CONTINUES if self.is_held_up else MATTERS
        return self.validation.falls(matters) and self.validation.rise() <= self.validation.fall()

    @cached_property
    def rises(self) -> bool:
        """Whether validation loss has risen since its minimum and is not falling at the end."""
        return not self.falls and self.validation.rises(MATTERS)

    @cached_property
    def both_rise(self) -> bool:
        """Whether validation loss has risen, and training loss has risen too or ends at the chance loss."""
        return self.rises and (self.training.rises(MATTERS) or self.training.at_end() > self._learned)

    @property
    def has_learned(self) -> bool:
        """Whether the training or the validation loss was ever clearly below the chance loss."""
        return bool(np.fmin(self.validation.lowest, self.training.lowest) < self._learned)

    @property
    def is_lost(self) -> bool:
        """Whether all known losses end at the chance loss and are not falling."""
        ends = np.fmin(self.validation.at_end(), self.training.at_end())
        return not self.falls and bool(ends > self._learned)

    @property
    def gap(self) -> float:
        """Validation loss minus training loss at the end of the run, as a fraction of the chance loss."""
        return (self.validation_at_end - self.training_at_end) / self.curves.top if self.curves.top > 0 else np.nan

    @property
    def training_share(self) -> float:
        """Training loss at the end of the run, as a fraction of the chance loss; NaN if it is unknown."""
        return self.training_at_end / self.curves.top if self.curves.top > 0 else np.nan

    def has_memorized(self, *, regularized: bool) -> bool:
        """Whether training loss is close to 0, far below validation loss.

        Args:
            regularized: Whether weight decay or dropout is in force.
        """
        is_kept = regularized and self.training_share > WHOLLY
        return self.training_share < FITTED and self.gap > (GAP_REGULARIZED if is_kept else GAP)

    @property
    def is_held_up(self) -> bool:
        """Whether the loss is well above 0 on the training samples too, and validation loss at most twice as large."""
        return self.training_share > HELD and self.gap <= self.training_share

    @property
    def jumps(self) -> bool:
        """Whether the loss of the training samples, which the net has not fitted, jumps from epoch to epoch.

        If the validation loss jumps as well, half of the noise suffices.
        """
        if self.falls or self.training.falls(MATTERS):  # in a short curve that bends, noise is not told from bending
            return False
        return self.training_share > FITTED and self.training.noise > (JUMPS / 2 if self.is_unclear else JUMPS)

    @property
    def is_unclear(self) -> bool:
        """Whether the validation loss jumps so much that a fall or rise that matters could not be seen."""
        return self.validation.noise > UNCLEAR

    @cached_property
    def turn(self) -> int:
        """Index of the validation after which validation loss rises, or both losses do if `both_rise`."""
        return max(self.validation.last_low, self.training.last_low) if self.both_rise else self.validation.last_low

    @property
    def calm(self) -> int:
        """Index of the first validation from which on the validation loss stays near its value at the end."""
        end = self.validation.at_end()
        far = np.flatnonzero(np.abs(self.validation.smooth - end) > max(MATTERS, self.validation.margin))
        return min(int(far[-1]) + 1, len(self.curves.steps) - 1) if len(far) else 0

    @property
    def _learned(self) -> float:
        """The value of log(loss + floor) below which a net has learned; −inf if the reference loss is not positive."""
        return float(np.log((1 - LEARNED + FLOOR) * self.curves.top)) if self.curves.top > 0 else -np.inf

    @property
    def validation_at_end(self) -> float:
        """Median validation loss at the end of the run, in nats."""
        return float(np.median(self.curves.validation[-self.validation.end :]))

    @property
    def training_at_end(self) -> float:
        """Median training loss at the end of the run, in nats; NaN if it was not measured."""
        return float(np.median(self.curves.training[-self.validation.end :]))
