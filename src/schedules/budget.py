"""How a budget of epochs is shared between finding hyper-parameters and training with them."""

from dataclasses import dataclass

LEAST_STEPS = 20  # of a range test: fewer show no curve
LEAST_SHARE = 1 / 3  # of the budget, for the last run: what has less does not make up for the search


@dataclass(frozen=True)
class Budget:
    """Epochs of training in all, of `steps_per_epoch` steps; the last run has what range tests and short runs leave.

    tests, test_share: their number, and the share of the budget that each has; runs, run_share: likewise.
    Raises ValueError where less than `LEAST_SHARE` is left for the last run.
    """

    epochs: int
    steps_per_epoch: int
    tests: int
    runs: int
    test_share: float
    run_share: float

    def __post_init__(self) -> None:
        if self.last_run < self.epochs * LEAST_SHARE:
            spent = self.epochs - self.last_run
            raise ValueError(
                f"budget = {self.epochs}: {self.tests} range tests of {self.steps_of_test} steps and {self.runs} runs "
                f"of {self.epochs_of_run} epochs take {spent} epochs, which leaves too few for the last one; "
                "a larger budget, or fewer weight_decays or momenta"
            )

    @property
    def steps_of_test(self) -> int:
        """Of one range test."""
        return max(LEAST_STEPS, int(self.test_share * self.epochs * self.steps_per_epoch))

    @property
    def epochs_of_run(self) -> int:
        """Of one short run."""
        return max(1, round(self.run_share * self.epochs))

    @property
    def last_run(self) -> int:
        """Whole epochs that are left."""
        tests = self.tests * self.steps_of_test / self.steps_per_epoch
        return int(self.epochs - tests - self.runs * self.epochs_of_run)
