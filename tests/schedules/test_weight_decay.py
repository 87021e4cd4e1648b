"""Tests of `next_weight_decay` and of `Budget`."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.schedules.budget import LEAST_SHARE, LEAST_STEPS, MOST_STEPS, Budget
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


def budget(epochs=30, steps=100, tests=1, runs=0, test_share=0.05, run_share=0.08) -> Budget:
    return Budget(epochs, steps, 64, 192, test_share, run_share, tests=tests, runs=runs)  # a validation costs a step


@given(st.integers(20, 200), st.integers(20, 1000), st.integers(1, 3), st.integers(0, 4))
def test_the_parts_of_a_budget_add_up_to_it_to_within_an_epoch(epochs, steps, tests, runs):
    shared = budget(epochs, steps, tests, runs)
    spent = tests * shared.epochs_of_test + runs * shared.epochs_of_run + shared.last_run
    assert abs(epochs - spent) <= 0.5 or shared.last_run == 1
    most = shared.most_runs
    assert most == 0 or budget(epochs, steps, tests, most).last_run >= LEAST_SHARE * epochs - 0.5


def test_shares_are_as_set_and_validations_count_as_steps():
    shared = budget()
    assert (shared.steps_of_test, shared.points_of_test, shared.epochs_of_run) == (112, 37, 2)
    assert shared.epochs_of_test == pytest.approx(1.49) and shared.last_run == 29  # 5% of the 30 epochs
    small = budget(epochs=20, steps=5)
    assert small.epochs_of_test <= 0.2 * 20 and budget(run_share=1e-3).epochs_of_run == 1
    assert budget(epochs=20, steps=40).epochs_of_test * 40 == pytest.approx(LEAST_STEPS, abs=2)
    assert budget(epochs=300, steps=1000).epochs_of_test * 1000 == pytest.approx(MOST_STEPS, abs=2)
