"""The scaling variable of a parameter group of torch's SGD, and where the law says nothing."""

import math

import pytest
import torch

from src.callbacks.moment import sgd_scaling


def group(**settings):
    [group] = torch.optim.SGD([torch.zeros(1)], **{"lr": 0.1, **settings}).param_groups
    return group


def test_it_is_that_of_rate_momentum_and_batch():
    assert sgd_scaling(group(), 8) == 0.1 / 8
    assert sgd_scaling(group(momentum=0.9, weight_decay=1e-3, nesterov=True), 32) == pytest.approx(0.1 / (0.1 * 32))


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.0}, {"lr": math.inf}, {"lr": math.nan}, {"momentum": 1.0}, {"momentum": math.nan},
        {"momentum": 0.9, "dampening": 0.5}, {"dampening": 0.5},
    ],
)  # fmt: skip
def test_where_the_law_says_nothing_it_is_nan(settings):
    assert math.isnan(sgd_scaling({**group(), **settings}, 8))
