"""What range tests are made to say: curves whose turn is known, and curves that have none."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.schedules.ramp import RAMPS, ramp_rates
from start_training.schedules.rate_suggestion import (
    SAFETY,
    advice,
    described,
    diverged_at,
    spread,
    suggest,
    turn,
)

CHANCE, CLASSES = 0.1, 10


@given(st.integers(2, 1000), st.floats(1e-5, 1), st.floats(1.001, 1e4), st.sampled_from(RAMPS))
def test_a_ramp_rises_from_the_first_rate_to_the_last_by_differences_or_by_ratios(steps, low, times, kind):
    rates = ramp_rates(steps, min_lr=low, max_lr=low * times, ramp=kind)
    assert (len(rates), rates[0], rates[-1]) == (steps, low, low * times)
    even = rates if kind == "linear" else np.log(rates)
    np.testing.assert_allclose(np.diff(even), np.ptp(even) / (steps - 1), rtol=1e-6)
    assert (np.diff(rates) > 0).all()


def test_settings_no_ramp_could_have_are_named():
    with pytest.raises(ValueError, match=r"^min_lr = 1.0: must be below max_lr, 1.0"):
        ramp_rates(10, min_lr=1.0, max_lr=1.0, ramp="linear")
    with pytest.raises(ValueError, match=r"^ramp = 'quadratic': must be one of exponential, linear"):
        ramp_rates(10, min_lr=0.1, max_lr=1.0, ramp="quadratic")


def curves(
    *, lost=0.2, worse=math.inf, seed=0, noise=0.02, kind="exponential", low=1e-4, high=10.0, steps=200, every=2
) -> pd.DataFrame:
    """A net that learns from 5e-3 on, whose accuracy is lost at the rate `lost` and whose loss from `worse` on."""
    rates = ramp_rates(steps, min_lr=low, max_lr=high, ramp=kind)
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


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("lost", [0.02, 0.2, 2.0])
def test_the_rate_that_costs_the_accuracy_is_found(lost, every):
    for seed in range(5):
        found = suggest(curves(lost=lost, seed=seed, every=every))
        assert found.turned
        assert octaves(found.max_lr, lost / 3) < 0.5
        assert octaves(found.max_lr, 2 * lost / 3) > 0.5  # the test can fail
        assert (found.min_lr, found.cyclical_min_lr) == (found.max_lr / 10, found.max_lr / 3)


def test_a_suggestion_is_of_rates_in_any_unit_and_of_any_ramp():
    table = curves()
    for scale in 1e-3, 70.0:
        scaled = suggest(table.assign(learning_rate=scale * table["learning_rate"])).max_lr
        assert scaled == pytest.approx(scale * suggest(table).max_lr)
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


def test_a_passing_dip_and_a_lucky_point_are_none():
    table = curves(lost=0.5)
    clean, at = suggest(table).max_lr, int(np.searchsorted(table["learning_rate"][::2], 0.05))
    assert octaves(suggest(dip(table, slice(at, at + 3))).max_lr, clean) < 0.15
    assert octaves(suggest(dip(table, slice(at, None))).max_lr, clean) > 1  # a lasting one
    lucky = table.copy()
    lucky.loc[[60, 62], ["val_loss", "val_accuracy"]] = 0.01, 1.0  # two of five do not make a median
    assert octaves(suggest(lucky).max_lr, clean) < 0.1
    lucky.loc[[58, 60, 62], ["val_loss", "val_accuracy"]] = 0.01, 1.0
    assert octaves(suggest(lucky).max_lr, clean) > 0.5


@pytest.mark.parametrize(("lost", "value"), [("train_loss", math.nan), ("val_loss", math.inf)])
def test_curves_that_end_in_what_is_not_finite_say_where(lost, value):
    table = curves(lost=1e6)
    at = int(np.searchsorted(table["learning_rate"], 0.3)) // 2 * 2
    table = table[: at + 1].copy()
    table.loc[at, lost] = value
    if lost == "train_loss":
        table.loc[at, ["val_loss", "val_accuracy"]] = math.nan  # then it is not validated
    assert diverged_at(table) == at
    found = suggest(table)
    assert found.turned and octaves(found.max_lr, 0.3 / SAFETY) < 0.3


def test_curves_that_have_not_turned_say_so():
    found = suggest(curves(lost=1e6, high=0.1))
    assert (found.max_lr, found.turned) == (pytest.approx(0.1 / SAFETY), False)
    said = "neither validation loss nor accuracy had turned by 0.1; max_lr is a third of that: test larger ones"
    assert found.rule == said
    assert suggest(curves(lost=0.05, high=0.2)).turned


@pytest.mark.parametrize(("fall", "learned"), [(0.051, True), (0.049, False)])
def test_a_net_that_learned_nothing_gets_no_rate(fall, learned):
    """Nothing: less than a twentieth of the first loss, or of a guess's if that is less."""
    table = curves(noise=0)
    shape = (table["val_loss"] - table["val_loss"].min()) / (table["val_loss"][0] - table["val_loss"].min())
    table["val_loss"] = 2 - 2 * fall * (1 - shape)
    for chance in (None, 2.0, 3.0):
        assert math.isfinite(suggest(table, chance=chance).max_lr) == learned
    table["val_loss"] = 2 - 0.4 * (1 - shape)
    found = suggest(table, chance=1.6 / (1 - fall))
    assert math.isfinite(found.max_lr) == learned
    said = f"validation loss never fell below a guess's {1.6 / (1 - fall):.3g}: nothing was learned"
    assert found.rule.startswith(said) != learned
    table = curves()[:1].assign(train_loss=math.nan, val_loss=math.nan, val_accuracy=math.nan)
    assert suggest(table).rule == "training diverged at once, at a rate of 0.0001: lower min_lr"


def test_a_turn_is_the_geometric_mean_of_where_the_levels_are_lost():
    rates = np.geomspace(1e-3, 1, 61)
    merit = np.where(rates < 0.1, 1.0, 0.0)
    merit[0] = 0.0
    assert octaves(turn(rates, merit), 0.1) < 0.2
    assert turn(rates, np.linspace(0, 1, 61)) is None
    down = np.concatenate([[0.0], np.ones(5), np.linspace(1, 0, 55)])  # 0.1, 0.3 … 0.9 of the gain are half of it
    assert octaves(turn(rates, down), np.exp(np.interp(0.5, down[:5:-1], np.log(rates)[:5:-1]))) < 0.1
    for left, found in ((0.66, True), (0.67, False)):  # what keeps two thirds has not turned
        assert (turn(rates, np.where(merit > 0, 1.0, np.where(rates < 0.1, 0.0, left))) is not None) == found


def test_what_is_said_of_a_test_is_plain_and_can_be_typed():
    table = curves()
    said = described(suggest(table), table)
    assert (said["best_val_accuracy"], said["best_val_loss"]) == (table["val_accuracy"].max(), table["val_loss"].min())
    assert (said["min_rate_tested"], said["max_rate_tested"], said["steps"]) == (1e-4, 10.0, 200)
    assert all(type(value) in (int, float, bool, str, type(None)) for value in said.values())
    lines = advice(said).splitlines()
    assert lines[1].endswith(f"optimizer.lr={said['max_lr']:.3g} schedule=one_cycle")
    assert lines[2].endswith("schedule=triangular schedule.start=0.333")
    assert advice({**said, "max_lr": None}) == lines[0]


def test_spread_is_in_octaves():
    found = spread([0.1, 0.4, 0.1, math.nan])
    mean = 0.1 * 4 ** (1 / 3)
    expected = {"smallest": 0.1, "largest": 0.4, "median": 0.1, "geometric_mean": mean, "octaves": 2}
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"^rates = \[nan\]: none of these range tests suggests one"):
        spread([math.nan])
