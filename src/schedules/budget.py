"""How a budget of epochs is divided between the search for hyper-parameters and the final training."""

from dataclasses import dataclass

LEAST_STEPS = 20  # of a range test: fewer show no curve
LEAST_SHARE = 1 / 3  # of the budget, for the last run: a shorter one costs more accuracy than the search gains


@dataclass(frozen=True)
class Budget:
    """Epochs for a whole recipe: range tests and short runs first, and the last run has the rest.

    Attributes:
        epochs: In all.
        steps_per_epoch: Optimizer steps in an epoch.
        tests: The number of range tests.
        runs: The number of short runs.
        test_share: The share of the budget for each range test.
        run_share: The share of the budget for each short run.

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
                f"of {self.epochs_of_run} epochs take {spent} epochs, which leaves too few for the last one; "
                "a larger budget, or fewer weight_decays or momenta"
            )

    @property
    def steps_of_test(self) -> int:
        """Steps of one range test."""
        return max(LEAST_STEPS, int(self.test_share * self.epochs * self.steps_per_epoch))

    @property
    def epochs_of_run(self) -> int:
        """Epochs of one short run."""
        return max(1, round(self.run_share * self.epochs))

    @property
    def last_run(self) -> int:
        """Whole epochs that remain for the last run."""
        tests = self.tests * self.steps_of_test / self.steps_per_epoch
        return int(self.epochs - tests - self.runs * self.epochs_of_run)
