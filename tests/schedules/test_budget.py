"""How a budget is shared out."""

import pytest

from src.schedules.budget import LEAST_STEPS, Budget


def budget(epochs=30, steps_per_epoch=100, tests=6, runs=2, test_share=0.05, run_share=0.08) -> Budget:
    return Budget(epochs, steps_per_epoch, tests, runs, test_share, run_share)


def test_all_parts_together_are_no_more_than_the_budget_and_less_than_an_epoch_below():
    for epochs in range(12, 200, 7):
        for steps in (7, 20, 100, 938):
            try:
                shared = budget(epochs, steps)
            except ValueError:
                continue
            spent = 6 * shared.steps_of_test / steps + 2 * shared.epochs_of_run + shared.last_run
            assert epochs - 1 < spent <= epochs


def test_the_shares_are_those_asked_for():
    shared = budget()
    assert (shared.steps_of_test, shared.epochs_of_run, shared.last_run) == (150, 2, 17)


def test_a_range_test_has_enough_steps_for_a_curve():
    assert budget(epochs=40, steps_per_epoch=7).steps_of_test == LEAST_STEPS


def test_a_budget_that_search_uses_up_says_so():
    with pytest.raises(ValueError, match=r"budget = 5: 6 range tests of 50 steps and 2 runs of 1 epochs"):
        budget(epochs=5, steps_per_epoch=10, test_share=1.0)
