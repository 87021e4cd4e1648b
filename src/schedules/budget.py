"""Division of a budget of epochs between the search for hyper-parameters and the final training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEAST_STEPS = 40  # what a range test costs at least, in steps, since fewer do not show a curve
MOST_SHARE = 0.15  # but at most this fraction of the budget
MOST_STEPS = 300  # at most: more do not make its result more certain
LEAST_SHARE = 0.6  # least fraction of the budget for the last run, which otherwise loses more than the search gains
FORWARD = 1 / 3  # cost of validating a sample, as a fraction of that of training on it


@dataclass(frozen=True)
class Budget:
    """A budget of epochs for range tests, short runs and one last run, which gets the epochs that remain.

    A range test costs its updates and its validations: one on n samples costs as much as n `FORWARD` / batch_size
    updates. The validation after an epoch counts as part of the epoch, as in any training.

    Attributes:
        epochs: Number of epochs of the whole budget.
        steps_per_epoch: Number of optimizer steps in an epoch.
        batch_size: Number of samples in a step.
        val_samples: Number of validation samples that range tests use.
        test_share: Fraction of the budget for each range test.
        run_share: Fraction of the budget for each short run.
        tests: Number of range tests.
        runs: Number of short runs.
        asked: The keys `steps` and `val_points` of a range test, if they are given.

    Example:
        >>> budget = Budget(20, 50, 64, 200, 0.08, 0.08, tests=1)
        >>> budget.steps_of_test, budget.points_of_test, budget.last_run
        (59, 19, 18)
    """

    epochs: int
    steps_per_epoch: int
    batch_size: int
    val_samples: int
    test_share: float
    run_share: float
    tests: int = 1
    runs: int = 0
    asked: Mapping[str, int] = field(default_factory=dict)

    @property
    def cost_of_point(self) -> float:
        """Cost of a validation of a range test, in steps."""
        return FORWARD * self.val_samples / self.batch_size

    @property
    def steps_of_test(self) -> int:
        """Number of updates of one range test."""
        if "steps" in self.asked:
            return self.asked["steps"]
        whole = self.epochs * self.steps_per_epoch
        steps = min(MOST_STEPS, max(self.test_share * whole, min(LEAST_STEPS, MOST_SHARE * whole)))
        return max(12, int(steps / (1 + self.cost_of_point / 3)))

    @property
    def points_of_test(self) -> int:
        """Number of validations of one range test: one for three updates."""
        return self.asked.get("val_points", min(max(6, self.steps_of_test // 3), self.steps_of_test))

    @property
    def epochs_of_test(self) -> float:
        """Cost of one range test, in epochs."""
        return (self.steps_of_test + self.points_of_test * self.cost_of_point) / self.steps_per_epoch

    @property
    def epochs_of_run(self) -> int:
        """Number of epochs of one short run, at least 1."""
        return max(1, round(self.run_share * self.epochs))

    @property
    def most_runs(self) -> int:
        """Number of short runs that leave `LEAST_SHARE` of the budget for the last run."""
        return max(0, int(((1 - LEAST_SHARE) * self.epochs - self.tests * self.epochs_of_test) / self.epochs_of_run))

    @property
    def last_run(self) -> int:
        """Number of whole epochs that remain for the last run, at least 1."""
        spent = self.tests * self.epochs_of_test + self.runs * self.epochs_of_run
        return max(1, round(self.epochs - spent))
