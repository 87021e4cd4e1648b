"""Expectations hold on tables made from the stated numbers, and fail, by name, on tables that violate the claim."""

import numpy as np
import pytest

from start_training.analysis.expectations import EXPECTATIONS
from start_training.analysis.expectations.quantity import Quantity
from tests.analysis import made_experiments as made

WRONG = [  # experiment, what its table is made from instead, and the quantity that must fail
    ("figure_1a", {"rate": 0.02}, "log growth per layer, he_normal"),
    ("figure_1a", {"plateau": 0.5}, "length × 5 width"),
    ("figure_2a", {"late": 1.0}, "change over the last modules"),
    ("figure_2a", {"constant": 0.1}, "nats per module"),
    ("failure_mode_2", {"by_depth": True}, "log(E[M²]/E[M]²) off"),
    ("failure_mode_2", {"by_depth": True}, "variation over layers at equal beta"),
    ("failure_mode_2", {"residual": 20.0}, "log(E[M²]/E[M]²) of residual nets"),
    ("figure_1b", {"he": 99}, "share of He's nets"),
    ("figure_1b", {"he": 12}, "latest mean start epoch of He's nets"),
    ("figure_1b", {"lecun": 3}, "share of LeCun's and Glorot's nets"),
    ("figure_1b", {"relation": False, "he": 12}, "rank correlation of start and growth, all"),
    ("figure_2b", {"convergent": 99}, "share that start with 1/L"),
    ("figure_2b", {"convergent": 99}, "concordance of start epochs and growth"),
    ("figure_2b", {"constant": 1}, "share with eta = 1"),
    ("figure_3", {"by": "depth"}, "share in the order of beta"),
    ("figure_3", {"by": "growth"}, "concordance of start epochs and beta"),
    ("cifar10_weight_decay", {"last_rate": 0.15}, "max_lr with weight decay 1e-2"),
    ("cifar10_weight_decay", {"last_loss": 1.64}, "lowest loss with 1e-2"),
    ("largest_rate", {"deep_he": 0.125}, "max_lr of He's nets, depth 20"),
    ("largest_rate", {"lecun": 0.1}, "max_lr of LeCun and Glorot over He"),
    ("super_convergence", {"fixed": 3.5}, "more error of inverse decay from 0.01, short runs"),
    ("super_convergence", {"cycle": 6.65}, "test error of 1cycle"),
    ("slope", {"power": 0.5}, "slope of J² per epoch, eta = 0.025"),
    ("slope", {"bend": 0.3}, "standard error of a slope"),
    ("scaling", {"power": 0.5}, "exponent of eta"),
    ("collapse", {"equal": 0.5}, "spread of J² at equal scaling variables"),
    ("past_the_edge", {"ordered": 0.0, "past": 0.0}, "spread of J² past the edge"),
    ("trajectory", {"rate": 0.02}, "epoch in which J reaches 1"),
    ("trajectory", {"J0": 0.5}, "largest |J0/J|"),
    ("trajectory", {"best": 0.7}, "J at the lowest test loss, eta = 0.05"),
    ("weight_decay", {"star": 0.5}, "λ* of the guideline"),
    ("weight_decay", {"loss": 0.3}, "final test loss with 4e-4"),
    ("two_papers", {"after": -0.69}, "growth of lengths, relu with lecun_normal, after"),
    ("two_papers", {"accuracy": 0.93}, "test accuracy, relu with torch_default"),
]
ON_DIGITS = [("figure_1b", {"relation": False, "he": 12}), ("figure_2b", {"reverse": True}),
             ("figure_3", {"by": "growth"})]  # fmt: skip
FULL = {name.rpartition("/")[2]: name for name in EXPECTATIONS}


@pytest.mark.parametrize("name", FULL)
def test_a_table_of_the_stated_numbers_meets_the_expectation(name):
    quantities = EXPECTATIONS[FULL[name]].check(getattr(made, name)())
    assert len({quantity.name for quantity in quantities}) == len(quantities) >= 3
    assert [quantity for quantity in quantities if not quantity.holds] == []


@pytest.mark.parametrize(("name", "instead", "failing"), WRONG)
def test_a_table_that_violates_the_claim_fails_by_the_name_of_what_is_off(name, instead, failing):
    quantities = EXPECTATIONS[FULL[name]].check(getattr(made, name)(**instead))
    assert any(q.name.startswith(failing) and q.measured and not q.holds for q in quantities)


def test_every_experiment_has_a_table_that_violates_its_claim():
    assert {name for name, *_ in WRONG} == FULL.keys()


@pytest.mark.parametrize(("name", "instead"), ON_DIGITS)
def test_on_digits_the_weaker_statement_is_checked(name, instead):
    check = EXPECTATIONS[FULL[name]].on_digits
    assert all(quantity.holds for quantity in check(getattr(made, name)()))
    assert not all(quantity.holds for quantity in check(getattr(made, name)(**instead)))


def test_what_the_runs_do_not_measure_is_missing_and_does_not_hold():
    table = made.figure_1b()
    quantities = EXPECTATIONS["hanin_rolnick/figure_1b"].check(table[table["depth"] < 30])
    [missing, *_] = [quantity for quantity in quantities if not quantity.measured]
    assert "depth 30" in missing.name and not missing.holds
    assert not Quantity("x", np.nan).holds
