"""Which weight decay is tried next."""

import math

import pytest

from src.schedules.weight_decay import next_weight_decay


def parabola(best: float):
    """A loss that is lowest at this weight decay; of 0 that of 1e-7."""
    return lambda value: (math.log10(value or 1e-7) - math.log10(best)) ** 2


@pytest.mark.parametrize(
    "losses, expected",
    [
        ({1e-4: 0.1, 1e-3: 0.2, 1e-5: 0.3, 0.0: 0.4}, 3e-4),  # the paper's example
        ({1e-4: 0.1, 1e-3: 0.3, 1e-5: 0.2, 0.0: 0.4}, 3e-5),
        ({1e-4: 0.2, 1e-3: 0.1, 1e-5: 0.3}, 3e-4),  # the best at an end has one neighbour
        ({1e-4: 0.1, 3e-4: 0.2, 1e-5: 0.3}, 2e-4),
        ({0.0: 0.1, 1e-5: 0.2, 1e-4: 0.3}, 1e-6),  # nothing is halfway to zero
        ({1e-4: 0.1, 1.2e-4: 0.2}, 1.1e-4),  # two digits where one says what has been tried
        ({1e-4: 0.1, 1e-3: math.inf}, 3e-4),
    ],
)
def test_it_lies_between_the_best_and_its_better_neighbour(losses, expected):
    assert next_weight_decay(losses) == expected


@pytest.mark.parametrize("best", [2e-6, 1e-5, 3.7e-4, 8e-4])
def test_bisection_closes_in_on_the_best(best):
    loss, losses = parabola(best), {value: parabola(best)(value) for value in (1e-3, 1e-4, 1e-5, 0.0)}
    before = min(losses.values())
    for _ in range(6):
        value = next_weight_decay(losses)
        assert value not in losses
        losses[value] = loss(value)
    found = min(losses, key=lambda value: losses[value])
    assert abs(math.log10(found / best)) < 0.15
    assert abs(math.log10(found / best)) < math.sqrt(before) or before < 1e-6


def test_one_weight_decay_has_no_between():
    with pytest.raises(ValueError, match=r"values = \[0.001\]: must be at least two"):
        next_weight_decay({1e-3: 0.1})
