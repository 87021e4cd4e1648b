"""The learning rate of the recipe: between a usual one and that of its range tests, and what follows a failed one."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from start_training.schedules.budget import Budget
from start_training.studies.recipe_rates import chosen_rate, lost_at, usual_of
from start_training.studies.recipe_search import RecipeSearch
from start_training.studies.trials import Trials


def test_the_rate_is_between_the_usual_one_and_that_of_the_range_test():
    test = {"max_lr": 0.1, "turned": True, "updates": 50, "rule": "of the test"}
    rates = [chosen_rate({**test, "updates": count}, 0.01, 1.0)[0] for count in (10, 50, 1000)]
    assert 0.01 < rates[0] < rates[1] < rates[2] < 0.1
    assert chosen_rate({**test, "max_lr": 1e-4}, 0.01, 1.0)[0] <= 2e-4  # two thirds of where validation got worse
    assert chosen_rate({**test, "max_lr": 10.0, "turned": False}, 0.01, 1.0)[0] <= 0.04
    assert chosen_rate({**test, "max_lr": 10.0, "turned": False}, 0.01, 1.0, lost=0.03)[0] == 0.02
    rate, why = chosen_rate({**test, "max_lr": None}, 0.01, 1.0, lost=0.003)
    assert rate == pytest.approx(0.001) and "of the test" in why


@pytest.mark.parametrize(("name", "usual", "fraction"), [("SGD", 0.03, 1.0), ("AdamW", 0.003, 1 / 3)])
def test_usual_rates_grow_with_the_root_of_a_large_batch(name, usual, fraction):
    node = {"_target_": f"torch.optim.{name}", "lr": 0.5}
    assert usual_of(node, 8) == usual_of(node, 64) == (usual, fraction)
    assert usual_of(node, 1024) == (4 * usual, max(fraction, 2 / 3))
    assert usual_of({"_target_": "torch.optim.Adagrad", "lr": 0.5}, 1024) == (0.5, 1.0)


def test_where_a_loss_that_is_not_finite_was_lost():
    losses = {"train_loss": [2.0, 2.0, np.inf], "val_loss": [2.0, np.nan, np.nan]}
    curves = pd.DataFrame({"learning_rate": [0.1, 0.2, 0.4], **losses})
    assert lost_at(curves) == 0.4 and lost_at(curves[:2]) == np.inf
    assert lost_at(curves.replace(np.inf, np.nan)) == 0.4  # the last training loss
    assert lost_at(curves.assign(train_loss=[2.0, 9.0, 2.0])) == np.inf  # the loss of one batch


class RecordedTests:
    """Stands for `Trials`: records the settings of range tests in which nothing is learned, with given losses."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.asked = losses, list[dict[str, Any]]()

    def range_test(self, changes: Any, **settings: Any) -> SimpleNamespace:
        self.asked.append(settings)
        rates = np.geomspace(settings.get("min_lr", 1e-5), settings.get("max_lr", 10.0), len(self.losses))
        curves = pd.DataFrame({"learning_rate": rates, "train_loss": self.losses, "val_loss": self.losses})
        suggestion = {"max_lr": None, "turned": False, "rule": "nothing was learned", "updates": 50}
        return SimpleNamespace(curves=curves, suggestion=suggestion)


@pytest.mark.parametrize(
    ("losses", "second"),
    [
        ([3.5, 8.9, 2.3, 2.3, 2.3], (6.25e-5, 0.004)),  # outputs are constant from the first rate, 0.002, on
        ([3.5, 2.8, 90.0, 90.0, 90.0], (0.0223607 / 64, 0.0223607)),  # the loss rises for good
        ([640.0, 2000.0, 4.0, 0.73, 0.73], ()),  # the loss fell to a thousandth
        ([2.3026, 2.3026, 2.3025, 2.3026, 2.3026], ()),  # nothing has changed: all rates
    ],
)
def test_a_range_test_that_teaches_nothing_is_followed_by_one_at_smaller_rates(losses, second):
    trials, optimizer = RecordedTests(losses), {"_target_": "torch.optim.AdamW", "lr": 1e-3}
    budget = Budget(20, 50, 64, 200, 0.08, 0.08, tests=1)
    search = RecipeSearch(cast(Trials, trials), {"optimizer": optimizer}, 0, budget)
    search.range_test("adamw", {})
    assert trials.asked[0]["min_lr"] == 0.002
    limits = [trials.asked[1][key] for key in ("min_lr", "max_lr") if key in trials.asked[1]]
    assert limits == pytest.approx(second, rel=1e-4)
    assert search.budget.tests == 2 and len(search.fallbacks) == 1
