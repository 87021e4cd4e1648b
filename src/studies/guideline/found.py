"""What the weight-decay guideline finds: λ*, what it came of, and the runs that were trained with it."""

from dataclasses import dataclass, field

from start_training.order_chaos.guideline import Growth
from start_training.studies.guideline.plan import Plan
from start_training.studies.guideline.premises import Descent
from start_training.studies.guideline.runs import Curve, Trained


@dataclass
class Found:
    """λ*, what it came of, and the runs that were trained with it."""

    plan: Plan
    descent: Descent
    layer: str
    fan_in: int
    growth: Growth
    measured: list[Curve]
    epochs: int = 0  # of the runs that follow
    trained: list[Trained] = field(default_factory=list)
    corrected: Trained | None = None
    faster: list[tuple[float, Trained]] = field(default_factory=list)  # without decay, so many times as fast

    @property
    def decay(self) -> float:
        """λ*."""
        return self.descent.edge_decay(self.growth.A)

    @property
    def weight_decay(self) -> float:
        """PyTorch's, 2 λ*, to the three digits one would type."""
        return float(f"{2 * self.decay:.3g}")

    @property
    def error(self) -> float:
        """Of `weight_decay`, by that of A."""
        return 2 * self.decay * self.growth.error / self.growth.A

    @property
    def all(self) -> list[Trained]:
        """Those of every weight decay, in order."""
        trained = [*self.trained, *([self.corrected] if self.corrected else [])]
        return sorted(trained, key=lambda each: each.weight_decay)

    @property
    def at_edge(self) -> Trained:
        """The runs with λ*."""
        return next(trained for trained in self.trained if trained.weight_decay == self.weight_decay)
