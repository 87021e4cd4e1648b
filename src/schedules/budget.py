"""Division of a budget of epochs between the search for hyper-parameters and the final training."""

from dataclasses import dataclass

LEAST_STEPS = 20  # fewest steps of a range test, since fewer do not show a curve
LEAST_SHARE = 1 / 3  # least fraction of the budget for the last run, which otherwise loses more than the search gains


@dataclass(frozen=True)
class Budget:
    """A budget of epochs for range tests, short runs and one last run, which gets the epochs that remain.

    Attributes:
        epochs: Number of epochs of the whole budget.
        steps_per_epoch: Number of optimizer steps in an epoch.
        tests: Number of range tests.
        runs: Number of short runs.
        test_share: Fraction of the budget for each range test.
        run_share: Fraction of the budget for each short run.

    Raises:
        ValueError: less than `LEAST_SHARE` remains for the last run.
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
                f"of {self.epochs_of_run} epochs take {spent} epochs, so that less than a third remains for the last "
                "run; set a larger budget, or fewer weight_decays or momenta"
            )

    @property
    def steps_of_test(self) -> int:
        """Number of optimizer steps of one range test, at least `LEAST_STEPS`."""
        return max(LEAST_STEPS, int(self.test_share * self.epochs * self.steps_per_epoch))

    @property
    def epochs_of_run(self) -> int:
        """Number of epochs of one short run, at least 1."""
        return max(1, round(self.run_share * self.epochs))

    @property
    def last_run(self) -> int:
        """Number of whole epochs that remain for the last run."""
        tests = self.tests * self.steps_of_test / self.steps_per_epoch
        return int(self.epochs - tests - self.runs * self.epochs_of_run)
