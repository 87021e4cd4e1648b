"""The result of `fix_`: what was tried on copies of a net, what was kept, and the diagnosis before and after."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from start_training.diagnosis.diagnosis import Diagnosis


@dataclass(frozen=True)
class Tried:
    """A change that was tried on a copy.

    Attributes:
        change: What was done to the copy.
        result: What came of it, in one line.
        kept: Whether the net has this change now.
    """

    change: str
    result: str
    kept: bool = False


def lowest_loss(diagnosis: Diagnosis) -> float:
    """Return the lowest loss after a step of any short training of a diagnosis; NaN if none is finite."""
    losses = [loss for trial in diagnosis.trials for loss in trial.losses[1:] if math.isfinite(loss)]
    return min(losses, default=math.nan)


@dataclass(frozen=True)
class Cure:
    """The result of `fix_`; `print` it for a report.

    Attributes:
        before: The diagnosis of the net as it was.
        after: That of the net as it is now.
        tried: The changes that were tried on copies, in order.
    """

    before: Diagnosis
    after: Diagnosis
    tried: tuple[Tried, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the net was changed."""
        return any(one.kept for one in self.tried)

    @property
    def change(self) -> str:
        """What was done to the net; empty: nothing."""
        return next((one.change for one in self.tried if one.kept), "")

    @property
    def sentence(self) -> str:
        """What was done and what came of it."""
        if not self.tried and self.before.healthy:
            return "the net is healthy; nothing was changed"
        if not self.changed:
            return f"nothing was changed: none of {len(self.tried)} changes, tried on copies, made the net better"
        copies = f"{len(self.tried)} {'copy' if len(self.tried) == 1 else 'copies'}"
        words = f"tried on {copies}: {self.before.verdict} → {self.after.verdict}"
        drifts = f"drift {self.before.measured.drift:+.3g} → {self.after.measured.drift:+.3g}".replace("-", "−")
        losses = [lowest_loss(one) for one in (self.before, self.after)]
        return f"{self.change} ({words}, {drifts}, trial loss {losses[0]:.3g} → {losses[1]:.3g})"

    def summary(self) -> Mapping[str, Any]:
        """Return plain data."""
        return {
            "changed": self.changed,
            "change": self.change,
            "before": self.before.verdict,
            "after": self.after.verdict,
            "loss": self.before.loss,
            "tried": [{"change": one.change, "result": one.result} for one in self.tried],
        }

    def __str__(self) -> str:
        lines = [f"{self.before.name}: {self.sentence}"]
        lines += [f"  {'kept' if one.kept else 'tried'}: {one.change} → {one.result}" for one in self.tried]
        return "\n".join(lines)
