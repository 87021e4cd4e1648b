"""Tests of `next_weight_decay` and of `Budget`."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.schedules.budget import LEAST_STEPS, Budget
from start_training.schedules.weight_decay import next_weight_decay


def test_the_next_weight_decay_is_between_the_best_and_its_better_neighbour():
    for losses, expected in (
        ({1e-4: 0.1, 1e-3: 0.2, 1e-5: 0.3, 0.0: 0.4}, 3e-4),  # the paper's example
        ({1e-4: 0.1, 1e-3: 0.3, 1e-5: 0.2, 0.0: 0.4}, 3e-5),
        ({1e-4: 0.2, 1e-3: 0.1, 1e-5: 0.3}, 3e-4),  # the best at an end has one neighbour
        ({0.0: 0.1, 1e-5: 0.2, 1e-4: 0.3}, 1e-6),  # a tenth of the smallest positive value, as log 0 is infinite
        ({1e-4: 0.1, 1.2e-4: 0.2}, 1.1e-4),  # two digits, as 1e-4 has been tried
        ({1e-4: 0.1, 1e-3: math.inf}, 3e-4),
    ):
        assert next_weight_decay(losses) == expected


@given(st.floats(2e-6, 9e-4))
def test_bisection_converges_to_the_best_weight_decay(best):
    def loss(value):  # 0 has the loss of 1e-7
        return abs(math.log10((value or 1e-7) / best))

    losses = {value: loss(value) for value in (1e-3, 1e-4, 1e-5, 0.0)}
    for _ in range(7):
        value = next_weight_decay(losses)
        assert value not in losses
        losses[value] = loss(value)
    assert min(losses.values()) < 0.15


def budget(epochs=30, steps_per_epoch=100, tests=6, runs=2, test_share=0.05, run_share=0.08) -> Budget:
    return Budget(epochs, steps_per_epoch, tests, runs, test_share, run_share)


@given(st.integers(20, 200), st.integers(20, 1000))
def test_the_parts_of_a_budget_add_up_to_it_to_within_an_epoch(epochs, steps):
    shared = budget(epochs, steps)
    spent = 6 * shared.steps_of_test / steps + 2 * shared.epochs_of_run + shared.last_run
    assert epochs - 1 < spent <= epochs
    assert shared.steps_of_test == max(LEAST_STEPS, int(0.05 * epochs * steps))


def test_shares_are_as_set_a_range_test_has_at_least_20_steps_and_the_last_run_at_least_a_third():
    shared = budget()
    assert (shared.steps_of_test, shared.epochs_of_run, shared.last_run) == (150, 2, 17)
    assert (budget(epochs=40, steps_per_epoch=7).steps_of_test, budget(run_share=1e-3).epochs_of_run) == (20, 1)
    assert budget(tests=1, runs=1, test_share=0.1, run_share=0.56).last_run == 10
    with pytest.raises(ValueError, match="budget = 30: 1 range tests of 300 steps and 1 runs of 18 epochs take 21"):
        budget(tests=1, runs=1, test_share=0.1, run_share=0.6)
