"""What range tests are made to say: curves whose turn is known, and curves that have none."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from src.schedules.ramp import ramp
from src.schedules.range_test import SAFETY, advice, described, diverged_at, falling_fit, spread, suggest, turn

CHANCE, CLASSES = 0.1, 10


def curves(
    *, lost=0.2, worse=math.inf, seed=0, noise=0.02, kind="exponential", low=1e-4, high=10.0, steps=200, every=2
) -> pd.DataFrame:
    """A net that learns from 5e-3 on, whose accuracy is lost at the rate `lost` and whose loss from `worse` on."""
    rates = ramp(steps, min_lr=low, max_lr=high, kind=kind)
    draw = np.random.default_rng(seed).normal(size=(3, steps))
    learned = 1 / (1 + (5e-3 / rates) ** 3)
    kept = 1 / (1 + (rates / lost) ** 6)
    accuracy = CHANCE + (0.8 + noise * draw[0]) * learned * kept
    loss = math.log(CLASSES) * (1 - 0.8 * learned * kept) * np.exp(noise * draw[1]) + np.log1p((rates / worse) ** 3)
    table = pd.DataFrame({"step": np.arange(steps), "learning_rate": rates, "train_loss": loss + noise * draw[2]})
    table["val_loss"], table["val_accuracy"] = loss, accuracy
    table.loc[(table["step"] % every > 0) & (table["step"] < steps - 1), ["val_loss", "val_accuracy"]] = math.nan
    return table


def octaves(one: float, other: float) -> float:
    return abs(math.log2(one / other))


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("lost", [0.02, 0.2, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_rate_that_costs_the_accuracy_is_found(lost, seed, every):
    found = suggest(curves(lost=lost, seed=seed, every=every))
    assert found.turned
    assert octaves(found.max_lr, lost / SAFETY) < 0.5
    assert octaves(found.max_lr, 2 * lost / SAFETY) > 0.5  # the test can fail
    assert (found.min_lr, found.cyclical_min_lr) == (found.max_lr / 10, found.max_lr / 3)


def test_a_linear_ramp_says_the_same():
    rates = [suggest(curves(kind=kind, low=1e-4, high=0.6)).max_lr for kind in ("linear", "exponential")]
    assert octaves(*rates) < 0.3


def test_a_lasting_rise_of_the_loss_before_that_counts():
    found = suggest(curves(lost=1.0, worse=0.05))
    assert suggest(curves(lost=1.0)).max_lr > 3 * found.max_lr
    alone = suggest(curves(lost=1e6, worse=0.05))  # accuracy never turns
    assert alone.turned and 0.02 < alone.max_lr < 0.5


def dip(table: pd.DataFrame, rows: slice) -> pd.DataFrame:
    """Worse for these rows: back at chance."""
    table = table.copy()
    seen = table.index[table["val_accuracy"].notna()][rows]
    table.loc[seen, "val_accuracy"], table.loc[seen, "val_loss"] = CHANCE, 8.0
    return table


def test_a_passing_dip_is_none():
    table = curves(lost=0.5)
    clean = suggest(table).max_lr
    at = int(np.searchsorted(table["learning_rate"][::2], 0.05))
    assert octaves(suggest(dip(table, slice(at, at + 3))).max_lr, clean) < 0.15
    assert octaves(suggest(dip(table, slice(at, None))).max_lr, clean) > 1  # a lasting one


def test_one_lucky_point_is_no_best():
    table = curves()
    lucky = table.copy()
    lucky.loc[60, ["val_loss", "val_accuracy"]] = 0.01, 1.0
    assert octaves(suggest(lucky).max_lr, suggest(table).max_lr) < 0.1


@pytest.mark.parametrize("lost", ["train_loss", "val_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_curves_that_end_in_what_is_not_finite_say_where(lost, value):
    table = curves(lost=1e6)
    at = int(np.searchsorted(table["learning_rate"], 0.3)) // 2 * 2
    table = table[: at + 1].copy()
    table.loc[at, lost] = value
    if lost == "train_loss":
        table.loc[at, ["val_loss", "val_accuracy"]] = math.nan  # then it is not validated
    assert diverged_at(table) == at
    found = suggest(table)
    assert found.turned
    assert octaves(found.max_lr, 0.3 / SAFETY) < 0.3


def test_curves_that_have_not_turned_say_so():
    found = suggest(curves(lost=1e6, high=0.1))
    assert (found.max_lr, found.turned) == (pytest.approx(0.1 / SAFETY), False)
    said = "neither validation loss nor accuracy had turned by 0.1; max_lr is a third of that: test larger ones"
    assert found.rule == said
    assert suggest(curves(lost=0.05, high=0.2)).turned


def test_a_net_that_learned_nothing_gets_no_rate():
    found = suggest(curves(lost=1e-6, noise=0.01))
    assert math.isnan(found.max_lr) and not found.turned
    assert found.rule.startswith("validation loss never fell from 2.")
    table = curves()[:1].assign(train_loss=math.nan, val_loss=math.nan, val_accuracy=math.nan)
    assert suggest(table).rule == "training diverged at once, at a rate of 0.0001: lower min_lr"


def test_a_fall_to_the_loss_of_a_guess_is_no_learning():
    start, best = curves()["val_loss"].iloc[0], curves()["val_loss"].min()
    found = suggest(curves(), chance=best * 1.04)
    assert math.isnan(found.max_lr)
    assert found.rule.startswith(f"validation loss never fell below a guess's {best * 1.04:.3g}: nothing was learned")
    assert suggest(curves(), chance=best * 1.1) == suggest(curves()) == suggest(curves(), chance=2 * start)


@pytest.mark.parametrize("seed", range(5))
def test_the_falling_fit_is_isotonic_regression(seed):
    draw = np.random.default_rng(seed)
    values, weights = draw.normal(size=40) - np.linspace(0, 2, 40), draw.uniform(0.1, 2, size=40)
    expected = IsotonicRegression(increasing=False).fit_transform(np.arange(40), values, sample_weight=weights)
    np.testing.assert_allclose(falling_fit(values, weights), expected)
    assert not np.allclose(falling_fit(values, np.ones(40)), expected)


def test_a_step_is_found_where_it_is():
    rates = np.geomspace(1e-3, 1, 61)
    merit = np.where(rates < 0.1, 1.0, 0.0)
    merit[0] = 0.0
    assert octaves(turn(rates, merit), 0.1) < 0.2
    assert turn(rates, np.linspace(0, 1, 61)) is None


def test_what_is_said_of_a_test_is_plain_and_can_be_typed():
    table = curves()
    said = described(suggest(table), table)
    assert said["best_val_accuracy"] == table["val_accuracy"].max()
    assert (said["steps"], said["diverged_at"], said["max_rate_tested"]) == (200, None, 10.0)
    assert all(type(value) in (int, float, bool, str, type(None)) for value in said.values())
    lines = advice(said).splitlines()
    assert lines[0] == f"range test: {said['rule']}"
    assert lines[1].endswith(f"optimizer.lr={said['max_lr']:.3g} schedule=one_cycle")
    assert len(advice({**said, "max_lr": None}).splitlines()) == 1


def test_spread_is_in_octaves():
    found = spread([0.1, 0.4, 0.1, math.nan])
    assert (found.count, found.smallest, found.largest, found.median) == (3, 0.1, 0.4, pytest.approx(0.1))
    assert found.octaves == pytest.approx(2)
    assert found.geometric_mean == pytest.approx(0.1 * 4 ** (1 / 3))
    with pytest.raises(ValueError, match=r"^rates = \[nan\]: none of these range tests suggests one"):
        spread([math.nan])
