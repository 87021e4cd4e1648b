"""Tests of `suggest` on synthetic range tests: curves that get worse at a known rate, and curves that do not."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.schedules.ramp import RAMPS, ramp_rates
from start_training.schedules.rates.gain import Gain, reached
from start_training.schedules.rates.range_table import diverged_at
from start_training.schedules.rates.rate_advice import advice, described
from start_training.schedules.rates.rate_suggestion import LEAST_SAMPLES, SAFETY, decide, spread, suggest
from start_training.tasks.merit import Merit

CHANCE, CLASSES = 0.1, 10
LOSS_ALONE = Merit("", likelihood=False)


@given(st.integers(2, 1000), st.floats(1e-5, 1), st.floats(1.001, 1e4), st.sampled_from(RAMPS))
def test_a_ramp_rises_from_min_lr_to_max_lr_in_equal_differences_or_equal_ratios(steps, low, times, kind):
    rates = ramp_rates(steps, min_lr=low, max_lr=low * times, ramp=kind)
    assert (len(rates), rates[0], rates[-1]) == (steps, low, low * times)
    even = rates if kind == "linear" else np.log(rates)
    np.testing.assert_allclose(np.diff(even), np.ptp(even) / (steps - 1), rtol=1e-6)
    assert (np.diff(rates) > 0).all()


def test_settings_that_are_not_allowed_are_named():
    with pytest.raises(ValueError, match=r"^min_lr = 1.0: must be below max_lr = 1.0"):
        ramp_rates(10, min_lr=1.0, max_lr=1.0, ramp="linear")
    with pytest.raises(ValueError, match=r"^ramp = 'quadratic': must be one of exponential, linear"):
        ramp_rates(10, min_lr=0.1, max_lr=1.0, ramp="quadratic")


def curves(
    *, lost=0.2, worse=math.inf, seed=0, noise=0.02, kind="exponential", low=1e-4, high=10.0, steps=200, stride=2
) -> pd.DataFrame:
    """Curves of a net that learns at rates above 5e-3; accuracy is lost at the rate `lost`, loss rises at `worse`."""
    rates = ramp_rates(steps, min_lr=low, max_lr=high, ramp=kind)
    draw = np.random.default_rng(seed).normal(size=(3, steps))
    learned = 1 / (1 + (5e-3 / rates) ** 3)
    retained = 1 / (1 + (rates / lost) ** 6)
    accuracy = CHANCE + (0.8 + noise * draw[0]) * learned * retained
    loss = math.log(CLASSES) * (1 - 0.8 * learned * retained) * np.exp(noise * draw[1]) + np.log1p((rates / worse) ** 3)
    table = pd.DataFrame({"step": np.arange(steps), "learning_rate": rates, "train_loss": loss + noise * draw[2]})
    table["val_loss"], table["val_accuracy"] = loss, accuracy
    table.loc[(table["step"] % stride > 0) & (table["step"] < steps - 1), ["val_loss", "val_accuracy"]] = math.nan
    return table


def octaves(one: float, other: float) -> float:
    """Return the distance between two rates in octaves."""
    return abs(math.log2(one / other))


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("lost", [0.02, 0.2, 2.0])
def test_max_lr_is_a_third_of_the_rate_at_which_accuracy_is_lost(lost, stride):
    for seed in range(5):
        suggestion = suggest(curves(lost=lost, seed=seed, stride=stride))
        assert suggestion.turned
        assert octaves(suggestion.max_lr, lost / 3) < 0.5
        assert octaves(suggestion.max_lr, 2 * lost / 3) > 0.5  # the test can fail
        assert (suggestion.min_lr, suggestion.cyclical_min_lr) == (suggestion.max_lr / 10, suggestion.max_lr / 3)


def test_a_suggestion_scales_with_the_rates_and_does_not_depend_on_the_ramp():
    table = curves()
    for scale in 1e-3, 70.0:
        scaled = suggest(table.assign(learning_rate=scale * table["learning_rate"])).max_lr
        assert scaled == pytest.approx(scale * suggest(table).max_lr)
    rates = [suggest(curves(kind=kind, low=1e-4, high=0.6)).max_lr for kind in ("linear", "exponential")]
    assert octaves(*rates) < 0.3


def test_a_lasting_rise_of_the_loss_counts_even_if_accuracy_is_lost_later_or_never():
    suggestion = suggest(curves(lost=1.0, worse=0.05))
    assert suggest(curves(lost=1.0)).max_lr > 3 * suggestion.max_lr
    accurate = suggest(curves(lost=1e6, worse=0.05))  # accuracy is never lost
    assert accurate.turned and 0.02 < accurate.max_lr < 0.5


def dip(table: pd.DataFrame, rows: slice) -> pd.DataFrame:
    """Return the curves with chance accuracy and a loss of 8 in these validated rows."""
    table = table.copy()
    seen = table.index[table["val_accuracy"].notna()][rows]
    table.loc[seen, "val_accuracy"], table.loc[seen, "val_loss"] = CHANCE, 8.0
    return table


def test_a_temporary_dip_and_a_single_outlier_are_ignored():
    table = curves(lost=0.5)
    clean, at = suggest(table).max_lr, int(np.searchsorted(table["learning_rate"][::2], 0.05))
    assert octaves(suggest(dip(table, slice(at, at + 3))).max_lr, clean) < 0.15
    assert octaves(suggest(dip(table, slice(at, None))).max_lr, clean) > 1  # a lasting one
    outliers = table.copy()
    outliers.loc[[60, 62], ["val_loss", "val_accuracy"]] = 0.01, 1.0  # two of five points do not change a median
    assert octaves(suggest(outliers).max_lr, clean) < 0.1
    outliers.loc[[58, 60, 62], ["val_loss", "val_accuracy"]] = 0.01, 1.0
    assert octaves(suggest(outliers).max_lr, clean) > 0.5


@pytest.mark.parametrize(("lost", "value"), [("train_loss", math.nan), ("val_loss", math.inf)])
def test_a_test_that_ends_with_a_loss_that_is_not_finite_has_diverged_at_its_last_step(lost, value):
    table = curves(lost=1e6)
    at = int(np.searchsorted(table["learning_rate"], 0.3)) // 2 * 2
    table = table[: at + 1].copy()
    table.loc[at, lost] = value
    if lost == "train_loss":
        table.loc[at, ["val_loss", "val_accuracy"]] = math.nan  # the net is not validated after a NaN training loss
    assert diverged_at(table) == at
    suggestion = suggest(table)
    assert suggestion.turned and octaves(suggestion.max_lr, 0.3 / SAFETY) < 0.3


def test_the_rule_says_that_curves_have_not_got_worse():
    suggestion = suggest(curves(lost=1e6, high=0.1))
    assert (suggestion.max_lr, suggestion.turned) == (pytest.approx(0.1 / SAFETY), False)
    assert suggestion.rule == (
        "validation loss and accuracy did not get worse up to the largest learning rate tested, 0.1; "
        "max_lr is a third of it; test larger rates"
    )
    assert suggest(curves(lost=0.05, high=0.2)).turned


@pytest.mark.parametrize(("fall", "learned"), [(0.051, True), (0.049, False)])
def test_no_rate_is_suggested_for_a_net_that_learned_nothing(fall, learned):
    """A net has learned if its loss falls by a twentieth of its first loss, or of the chance loss if that is less."""
    table = curves(noise=0)
    table["val_accuracy"] = CHANCE + 0.2 * (table["val_accuracy"] - CHANCE)  # rises to 26% only
    shape = (table["val_loss"] - table["val_loss"].min()) / (table["val_loss"][0] - table["val_loss"].min())
    table["val_loss"] = 2 - 2 * fall * (1 - shape)
    for chance in (None, 2.0, 3.0):
        assert math.isfinite(suggest(table, chance=chance).max_lr) == learned
    table["val_loss"] = 2 - 0.4 * (1 - shape)
    suggestion = suggest(table, chance=1.6 / (1 - fall))
    assert math.isfinite(suggestion.max_lr) == learned
    rule = f"validation loss never fell clearly below that of guessing, {1.6 / (1 - fall):.3g}: nothing was learned"
    assert suggestion.rule.startswith(rule) != learned
    table = curves()[:1].assign(train_loss=math.nan, val_loss=math.nan, val_accuracy=math.nan)
    rule = "training diverged at the first learning rate of the test, 0.0001: set a smaller min_lr"
    assert suggest(table).rule == rule


def test_a_loss_that_starts_far_above_chance_has_learned_if_the_accuracy_rises():
    table = curves(lost=0.2)
    shape = (table["val_loss"] - table["val_loss"].min()) / np.ptp(table["val_loss"].dropna())
    table["val_loss"] = 3.12 + (41.9 - 3.12) * shape
    suggestion = suggest(table, chance=math.log(10))
    assert suggestion.turned and octaves(suggestion.max_lr, 0.2 / SAFETY) < 0.7
    table["val_accuracy"] = np.where(table["val_accuracy"].isna(), math.nan, CHANCE)
    assert "nothing was learned" in suggest(table, chance=math.log(10)).rule  # the control


@pytest.mark.parametrize(("lowest", "learned"), [(4.0, True), (0.73, False)])
def test_a_regression_that_starts_far_above_guessing_has_learned_unless_it_ends_there(lowest, learned):
    """A loss that falls from 640 to that of guessing, 0.73, and no further is that of a net with constant outputs."""
    merit, table = Merit("r2", likelihood=False), curves(lost=0.2, noise=0)
    shape = (table["val_loss"] - table["val_loss"].min()) / np.ptp(table["val_loss"].dropna())
    table["val_loss"] = lowest * (640 / lowest) ** shape
    chance = reached(0.73, [table.assign(val_loss=640.0), table], merit)
    suggestion = suggest(table.assign(val_accuracy=math.nan), merit=merit, chance=chance)
    assert suggestion.turned == learned == ("nothing was learned" not in suggestion.rule)
    assert not learned or octaves(suggestion.max_lr, 0.2 / SAFETY) < 0.7
    assert reached(0.73, [table], Merit()) == 0.73  # the merit of a classifier contains the accuracy


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_without_a_score_the_merit_is_that_of_the_loss_alone_at_any_scale(scale):
    table = curves(lost=0.2, noise=0)
    expected = suggest(table.assign(val_accuracy=math.nan), merit=LOSS_ALONE)
    suggestion = suggest(table.assign(val_accuracy=math.nan, val_loss=scale * table["val_loss"]), merit=LOSS_ALONE)
    assert suggestion.max_lr == pytest.approx(expected.max_lr)
    assert suggestion.turned and octaves(suggestion.max_lr, 0.2 / SAFETY) < 0.7
    assert "nan" not in suggestion.rule and "accuracy" not in suggestion.rule
    negative = table["val_loss"] - 5  # such as the negative logarithm of a density
    below = suggest(table.assign(val_accuracy=math.nan, val_loss=scale * negative), merit=LOSS_ALONE)
    assert below.turned and octaves(below.max_lr, 0.2 / SAFETY) < 0.7


def test_a_test_that_diverged_has_turned():
    """The mean squared error of targets times 10 falls from 2646 to 792 at 0.0035, then jumps to infinity at 0.0376."""
    rates = np.geomspace(1e-5, 0.0376, 119)
    loss = np.interp(np.log(rates), np.log([1e-5, 1e-4, 0.0035, 0.03]), [2646.0, 2600.0, 792.0, 800.0])
    loss[-1] = math.inf
    table = pd.DataFrame({"step": np.arange(119), "learning_rate": rates, "train_loss": loss, "val_loss": loss})
    for score in (math.nan, np.where(np.isfinite(loss), -25 + 24 * (2646 - loss) / 2646, -math.inf)):
        for merit in (LOSS_ALONE, Merit("r2", likelihood=False)):
            suggestion = suggest(table.assign(**{"val_accuracy": math.nan, merit.column("val"): score}), merit=merit)
            assert suggestion.turned and octaves(suggestion.max_lr, 0.0376 / SAFETY) < 0.2
    still_falling = table.assign(val_loss=np.append(np.linspace(2646, 1, 118), math.inf), val_accuracy=math.nan)
    assert suggest(still_falling, merit=LOSS_ALONE).turned


def test_few_validation_samples_cannot_tell():
    assert suggest(curves(), samples=LEAST_SAMPLES).turned
    suggestion = suggest(curves(), samples=16)
    assert math.isnan(suggestion.max_lr)
    assert suggestion.rule.startswith("16 validation samples are too few to tell at which rate validation gets worse")


def test_a_gain_is_lost_at_the_geometric_mean_of_the_rates_that_lose_its_levels():
    rates = np.geomspace(1e-3, 1, 61)
    merit = np.where(rates < 0.1, 1.0, 0.0)
    merit[0] = 0.0
    assert octaves(Gain(rates, merit, 0.0).lost_at(), 0.1) < 0.2
    assert Gain(rates, np.linspace(0, 1, 61), 0.0).lost_at() is None
    down = np.concatenate([[0.0], np.ones(5), np.linspace(1, 0, 55)])  # 0.1, 0.3 … 0.9 of the gain are half of it
    assert octaves(Gain(rates, down, 0.0).lost_at(), np.exp(np.interp(0.5, down[:5:-1], np.log(rates)[:5:-1]))) < 0.1
    for left, turned in ((0.66, True), (0.67, False)):  # a merit that keeps two thirds has not turned
        kept = np.where(merit > 0, 1.0, np.where(rates < 0.1, 0.0, left))
        assert (Gain(rates, kept, 0.0).lost_at() is not None) == turned


def test_a_gain_is_reached_before_it_is_lost_and_a_ramp_ends_when_next_to_nothing_is_left():
    table = curves(noise=0.0)
    gain = Gain.in_ramp(table, merit=Merit(), chance=math.log(CLASSES), start=[math.log(CLASSES), CHANCE])
    assert octaves(gain.gained_at(), 5e-3) < 0.5 < 4 < octaves(gain.gained_at(), gain.lost_at())
    assert gain.is_lost() and not Gain(gain.rates[:60], gain.merit[:60], gain.base).is_lost()


def test_ramps_that_turned_are_averaged_unless_they_gained_little():
    known = {"merit": Merit(), "chance": math.log(CLASSES), "start": [math.log(CLASSES), CHANCE], "samples": 1000}
    coarse, first, second = curves(lost=0.1), curves(lost=0.2), curves(lost=0.4)
    number, others = decide([coarse, first, second], **known)
    assert number == 1 and [weight for _, weight in others] == [1.0, 0.5]
    mean = suggest(first, others=others, **known).max_lr
    assert octaves(mean, 0.2 * 2 ** ((0 + 1 - 0.5) / 2.5) / SAFETY) < 0.3
    dead = second.assign(val_loss=math.log(CLASSES) - 0.4, val_accuracy=CHANCE + 0.1)
    assert decide([coarse, first, dead], **known) == (1, [pair for pair in others if pair[1] == 0.5])
    assert decide([coarse, dead, dead], **known) == (0, [])


def test_the_description_is_plain_data_and_the_advice_can_be_typed():
    table = curves()
    description = described(suggest(table), table)
    assert description["best_val_accuracy"] == table["val_accuracy"].max()
    assert description["best_val_loss"] == table["val_loss"].min()
    assert (description["min_rate_tested"], description["max_rate_tested"], description["steps"]) == (1e-4, 10.0, 200)
    assert all(type(value) in (int, float, bool, str, type(None)) for value in description.values())
    lines = advice(description).splitlines()
    assert lines[1].endswith(f"optimizer.lr={description['max_lr']:.3g} schedule=one_cycle")
    assert lines[2].endswith("schedule=triangular schedule.start=0.333")
    assert advice({**description, "max_lr": None}) == lines[0]


def test_the_spread_of_rates_is_in_octaves():
    spread_of_rates = spread([0.1, 0.4, 0.1, math.nan])
    mean = 0.1 * 4 ** (1 / 3)
    expected = {"smallest": 0.1, "largest": 0.4, "median": 0.1, "geometric_mean": mean, "octaves": 2}
    assert spread_of_rates == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"^rates = \[nan\]: no range test suggests a rate"):
        spread([math.nan])
