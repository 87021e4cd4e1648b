"""How a budget of epochs is shared between finding hyper-parameters and training with them."""

from dataclasses import dataclass

LEAST_STEPS = 20  # of a range test: fewer show no curve


@dataclass(frozen=True)
class Budget:
    """Epochs of training in all, of `steps_per_epoch` steps; the last run has what range tests and short runs leave.

    tests, test_share: their number, and the share of the budget that each has; runs, run_share: likewise.
    Raises ValueError where too little is left for a last run that is longer than a short one.
    """

    epochs: int
    steps_per_epoch: int
    tests: int
    runs: int
    test_share: float
    run_share: float

    def __post_init__(self) -> None:
        if self.last_run <= self.epochs_of_run:
            spent = self.epochs - self.last_run
            raise ValueError(
                f"budget = {self.epochs}: {self.tests} range tests of {self.steps_of_test} steps and {self.runs} runs "
                f"of {self.epochs_of_run} epochs take {spent} epochs of it, which leaves too few for the last run; "
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
