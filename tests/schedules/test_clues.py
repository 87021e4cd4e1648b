"""Tests of `read_clues` on noisy synthetic curves of each class: how often the verdict is right, and controls."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.schedules import clue_verdicts as verdicts
from start_training.schedules import trend
from start_training.schedules.clues import read_clues
from start_training.schedules.curves import Curves
from start_training.schedules.regularization import MORE, advise, what_to_lower
from start_training.schedules.regularizers import Regularizers
from tests.schedules.made_curves import CASES, CHANCE, curve

STEPS = np.arange(1, 31) * 20 - 1
X = np.arange(1, 31) / 30
FALLING = 0.2 + 2 * np.exp(-X / 0.1)


def clues_of(*rows, **settings):
    return read_clues(Curves.of(*rows, **settings))


def verdict(train, val=None, **settings):
    return clues_of(STEPS[: len(train)], train, train if val is None else val, **settings).verdict


def confusion(*cases, count, points=(8, 200), noise=(0.003, 0.05), also=()):
    """Return the fraction of misclassified curves of each case; length and noise are log-uniform random numbers.

    The verdicts `also` are right as well.
    """
    wrong = {}
    for case in cases:
        random, answers = np.random.default_rng((0, CASES.index(case))), []
        for _ in range(count):
            length, deviation = np.exp(random.uniform(*np.log([points, noise]).T))
            c = curve(case, random, points=round(length), noise=deviation)
            given = clues_of(c.steps, c.train_loss, c.val_loss, rates=c.rates, chance=c.chance).verdict
            answers.append(case if given in also else given)
        wrong[case] = float(np.mean([verdict != case for verdict in answers]))
    return wrong


def test_about_one_curve_in_a_hundred_is_misclassified():
    wrong = confusion(*CASES, count=250)
    assert np.mean(list(wrong.values())) < 0.015  # 0.6% of 3,000; its standard error over these 1,500 is 0.2%
    assert max(wrong.values()) < 0.04
    hidden = confusion(
        verdicts.UNDERFITTING, verdicts.OVERFITTING, verdicts.PLATEAU, count=40, noise=(2.0, 3.0)
    )  # as large as the curve
    assert np.mean(list(hidden.values())) > 0.4


def test_plateaus_are_misclassified_if_noise_is_not_taken_into_account(monkeypatch):
    settings = {
        "count": 100,
        "points": (8, 60),
        "noise": (0.05, 0.2),
        "also": (verdicts.UNCLEAR, verdicts.INSTABILITY),
    }  # both jump
    assert confusion(verdicts.PLATEAU, **settings)[verdicts.PLATEAU] < 0.15
    monkeypatch.setattr(trend, "SIGMAS", 0.0)
    monkeypatch.setattr(trend.Trend, "_noise_of_minimum", 0.0)
    assert confusion(verdicts.PLATEAU, **settings)[verdicts.PLATEAU] > 0.3


def falling(change, level):
    """A loss that falls by `change` over the last third, relative to level + floor."""
    line = np.log(level + 0.05 * CHANCE) + change * np.clip((X[-1] - X) / (X[-1] - X[-10]), 0, 1)
    return np.exp(line) - 0.05 * CHANCE


def test_a_rise_or_fall_has_to_exceed_a_tenth_of_the_loss_plus_the_floor():
    fitted = np.full(30, 0.03 * CHANCE)
    for level in (0.01, 1.0, 1.5):  # near 0 the floor dominates
        for change, expected in ((0.098, verdicts.PLATEAU), (0.102, verdicts.OVERFITTING)):
            rise = np.expm1(change) * (level + 0.05 * CHANCE)
            val = np.where(X <= 0.8, level, level + rise)
            assert verdict(np.full(30, 0.5 * level), val, chance=CHANCE) == expected
            falls = {verdicts.PLATEAU: verdicts.PLATEAU, verdicts.OVERFITTING: verdicts.UNDERFITTING}[expected]
            assert verdict(fitted, falling(change, level), chance=CHANCE) == falls
    for change, expected in (
        (0.058, verdicts.PLATEAU),
        (0.062, verdicts.UNDERFITTING),
    ):  # where training samples are not fitted either
        assert verdict(falling(change, 1.0), chance=CHANCE) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.945, verdicts.PLATEAU), (0.955, verdicts.NOT_LEARNING)])
def test_a_net_has_learned_if_its_loss_is_a_twentieth_below_chance(share, expected):
    flat = np.full(30, share * CHANCE)
    assert verdict(flat, chance=CHANCE) == expected
    assert verdict(np.append(CHANCE, flat[1:])) == expected  # the first loss replaces the unknown chance loss
    lost = np.where(X < 0.3, 1.5, share * CHANCE * 1.0001)
    assert verdict(lost, chance=CHANCE) in (verdicts.INSTABILITY, verdicts.OVERFITTING)
    learned = np.where(X < 0.3, 0.5, 1.9)  # training loss keeps falling by memorization
    assert verdict(np.linspace(1, 0.1, 30), learned, chance=CHANCE) == verdicts.OVERFITTING


def test_a_loss_back_at_chance_is_an_instability_and_memorization_is_overfitting():
    val = np.where(X < 0.3, 1.5, CHANCE)
    train = np.append(50.0, val[1:])
    assert verdict(train, val, chance=CHANCE) == verdicts.INSTABILITY
    assert verdict(CHANCE * np.exp(-3 * X), CHANCE * (1 + X), chance=CHANCE) == verdicts.OVERFITTING


@pytest.mark.parametrize(("train", "best", "end"), [(1e-4, 0.19, 0.23), (2e-4, 0.397, 0.408)])
def test_a_net_with_a_training_loss_of_0_far_below_its_validation_loss_has_memorized(train, best, end):
    val, losses = best + (end - best) * X + FALLING - 0.2, train + FALLING - 0.2
    for decay in (None, 0.0, 1e-3):
        clues = read_clues(Curves.of(STEPS, losses, val, chance=CHANCE), Regularizers(weight_decay=decay))
        assert (clues.verdict, clues.from_step) == (verdicts.MEMORIZED, None)
    assert verdict(np.maximum(losses, 0.1), val, chance=CHANCE) == verdicts.PLATEAU  # the net has more to learn
    assert verdict(losses, val - best + 0.05, chance=CHANCE) == verdicts.PLATEAU  # other samples are known as well


def test_large_regularization_is_too_much_only_if_training_samples_are_not_fitted_either():
    level, decay = np.full(30, 0.5), Regularizers(weight_decay=0.1)
    for settings in (decay, Regularizers(dropout=0.6), Regularizers(weight_decay=2.0, decoupled=True)):
        for losses in (level + FALLING, level + 0.5 * X, np.full(30, CHANCE)):  # flat, rising, and nothing learned
            clues = read_clues(Curves.of(STEPS, losses, losses, chance=CHANCE), settings)
            assert clues.verdict == verdicts.REGULARIZED and settings.large in clues.text
    mild = Regularizers(weight_decay=1e-3, dropout=0.1)
    clues = read_clues(Curves.of(STEPS, level + FALLING, level + FALLING, chance=CHANCE), mild)
    assert clues.verdict == verdicts.PLATEAU and "a larger net would lower both, curves cannot tell" in clues.text
    assert read_clues(Curves.of(STEPS, FALLING / 4, FALLING / 4, chance=CHANCE), decay).verdict == verdicts.PLATEAU
    assert read_clues(Curves.of(STEPS, FALLING / 4, 3 * FALLING, chance=CHANCE), decay).verdict != verdicts.REGULARIZED


def test_a_validation_loss_that_jumps_is_no_plateau_and_an_instability_if_training_loss_jumps_too():
    jumping = np.where(np.arange(30) % 3 == 1, 0.52, 0.18) + FALLING - 0.2
    assert verdict(FALLING + 0.1, jumping, chance=CHANCE) == verdicts.UNCLEAR
    clues = clues_of(STEPS, jumping, jumping, chance=CHANCE)
    assert clues.verdict == verdicts.INSTABILITY and "jumps between 0.18 and 0.52" in clues.text


def test_overfitting_begins_at_the_lowest_validation_loss_and_is_an_instability_if_training_loss_rises_too():
    rates, rise = np.linspace(0.1, 0.01, 30), np.maximum(X - 0.5, 0)
    clues = clues_of(STEPS, FALLING * (1 - 0.8 * X), FALLING * (1 + 2 * rise), rates=rates)
    assert (clues.verdict, abs(clues.from_step - 0.5 * STEPS[-1]) <= 40) == (verdicts.OVERFITTING, True)
    assert clues.rate == rates[STEPS.tolist().index(clues.from_step)]
    assert "training loss went from" in clues.text
    jump = np.where(X > 0.7, 8.0, 1.0)
    clues = clues_of(STEPS, FALLING * jump, FALLING * jump, rates=rates)
    assert (clues.verdict, clues.from_step, clues.rate) == (verdicts.INSTABILITY, STEPS[20], rates[20])
    assert verdict(FALLING, FALLING * jump, rates=rates) == verdicts.OVERFITTING


def test_a_loss_that_rises_in_mid_cycle_and_falls_again_is_not_overfitting():
    humped, rates = FALLING * (1 + 3 * np.exp(-(((X - 0.5) / 0.1) ** 2))), np.interp(X, [0, 0.45, 1], [0.01, 0.1, 1e-5])
    assert verdict(humped, rates=rates) == verdicts.PLATEAU
    assert verdict(humped[X < 0.6]) == verdicts.INSTABILITY  # the same curve, cut off in mid-cycle where it has risen


def test_the_text_mentions_a_learning_rate_that_is_halved_while_the_loss_falls():
    falling = 2 - X
    for end, mentioned in ((0.49, True), (0.51, False), (0.5, False)):  # over the last third
        rates = np.interp(X, [X[20], 1], [0.1, 0.1 * end])
        assert ("rate fell" in clues_of(STEPS, falling, falling, rates=rates).text) == mentioned
    assert "rate fell" not in clues_of(STEPS, falling, falling).text


@pytest.mark.parametrize("ends", ["well", "unstable"])
def test_a_ramp_that_stays_near_its_best_over_tenfold_rates_is_a_candidate(ends):
    losses = FALLING * np.where((X > 0.85) & (ends == "unstable"), 8.0, 1.0)
    near = np.flatnonzero(FALLING - FALLING.min() <= 0.1 * (CHANCE - FALLING.min()))[0]
    last = 24 if ends == "unstable" else 29
    control = {"well": verdicts.PLATEAU, "unstable": verdicts.INSTABILITY}[ends]
    for times, expected in ((10.2, verdicts.CANDIDATE), (9.8, control)):
        rates = np.geomspace(1, times, last - near + 1)[0] * times ** ((np.arange(30) - near) / (last - near))
        clues = clues_of(STEPS, losses, losses, rates=rates, chance=CHANCE)
        assert clues.verdict == expected
        if expected == verdicts.CANDIDATE:
            assert clues.numbers["high_rate"] == pytest.approx(10.2 * clues.numbers["low_rate"])
            assert ("is unstable after" in clues.text) == (ends == "unstable")
        for lost, with_accuracy in ((0.049, expected), (0.051, control)):  # the threshold is 5 percentage points
            accuracy = np.where(np.arange(30) < near + 2, 0.97 - lost, 0.97)
            assert verdict(losses, rates=rates, val_accuracy=accuracy, chance=CHANCE) == with_accuracy


def test_a_candidate_needs_a_rate_that_rises_fivefold_and_a_loss_near_its_best_at_the_largest_rate():
    rates = np.interp(X, [0, 0.45, 0.9, 1], [0.01, 0.1, 0.009, 1e-5])
    assert verdict(FALLING, rates=rates, chance=CHANCE) == verdicts.CANDIDATE
    hump = 1 + 3 * np.exp(-(((X - 0.45) / 0.15) ** 2))
    assert verdict(FALLING * hump, rates=rates, chance=CHANCE) == verdicts.PLATEAU
    assert verdict(FALLING, rates=np.geomspace(0.1, 1e-4, 30), chance=CHANCE) == verdicts.PLATEAU
    for risen, expected in ((5.05, verdicts.CANDIDATE), (4.95, verdicts.PLATEAU)):
        rates = np.concatenate([np.geomspace(0.1 / risen, 0.1, 12), np.geomspace(0.1, 1e-3, 19)[1:]])
        assert verdict(FALLING, rates=rates, chance=CHANCE) == expected


def test_rounding_errors_of_a_constant_rate_do_not_count_as_a_fall():
    wide, jump = np.minimum(np.geomspace(1e-3, 10, 30), 1.0), np.where(X > 0.85, 8.0, 1.0)
    for less, expected in ((np.spacing(1.0), verdicts.CANDIDATE), (0.1, verdicts.INSTABILITY)):
        rates = wide - less * (np.arange(30) % 2) * (wide == 1)
        assert verdict(FALLING * jump, rates=rates, chance=CHANCE) == expected


@pytest.mark.parametrize("at", [0, 1, 3, 15, 29])
@pytest.mark.parametrize("loss", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_is_an_instability_from_its_step(at, loss):
    train, val = FALLING.copy(), FALLING.copy()
    train[at:] = val[at:] = loss
    clues = clues_of(STEPS, train, val, rates=np.full(30, 0.1))
    assert (clues.verdict, clues.from_step, clues.rate) == (verdicts.INSTABILITY, STEPS[at], 0.1 if at else None)
    assert f"step {STEPS[at]} is not finite" in clues.text


def test_a_divergence_between_two_rows_is_passed_by_its_step_and_the_earliest_divergence_counts():
    for step in (205, 105, 3):
        assert clues_of(STEPS[:10], FALLING[:10], FALLING[:10], diverged_at=step).from_step == step
    train = np.where(np.arange(10) == 4, np.inf, FALLING[:10])
    assert clues_of(STEPS[:10], train, FALLING[:10], diverged_at=150).from_step == STEPS[4]
    assert clues_of([], [], [], diverged_at=3).from_step == 3


@pytest.mark.parametrize(
    "points, expected",
    [(0, verdicts.NO_VALIDATION), (1, verdicts.TOO_SHORT), (5, verdicts.TOO_SHORT), (6, verdicts.PLATEAU)],
)
def test_a_verdict_needs_six_validations(points, expected):
    assert verdict(np.full(points, 0.1), chance=CHANCE) == expected
    assert verdict(FALLING, np.where(np.arange(30) >= 30 - points, 0.1, np.nan), chance=CHANCE) == expected


def test_training_loss_is_optional_and_averaged_since_the_previous_validation():
    nothing, rising = np.full(30, np.nan), FALLING * (1 + 2 * np.maximum(X - 0.5, 0))
    assert clues_of(STEPS, nothing, FALLING).verdict == verdicts.PLATEAU
    assert "training loss was not measured" in clues_of(STEPS, nothing, FALLING).text
    clues = clues_of(STEPS, nothing, rising)
    assert clues.verdict == verdicts.OVERFITTING and "was not measured" in clues.text
    rare = np.where(np.arange(30) % 3 == 2, FALLING, np.nan)
    train = np.where(np.arange(30) % 3 == 2, np.nan, np.tile([1.0, 2.0, 9.0], 10))
    clues = clues_of(STEPS, train, rare)
    assert clues.numbers["end_train_loss"] == 1.5
    assert clues.numbers["end_val_loss"] == np.median(FALLING[[26, 29]])
    assert clues.numbers["best_val_loss"] == FALLING[29]


@given(st.integers(0, 2**32), st.integers(0, 30))
def test_any_losses_give_a_verdict_that_is_plain_data(seed, rows):
    random = np.random.default_rng(seed)
    some = [0.0, 1e-30, 0.1, 1.0, 2.0, 1e30, -1.0, np.nan, np.inf]
    values = random.choice(some, size=(4, rows), p=[0.1, 0.1, 0.2, 0.25, 0.2, 0.02, 0.02, 0.1, 0.01])
    steps = np.cumsum(random.integers(1, 100, size=rows))
    clues = clues_of(steps, values[0], values[1], rates=values[2], val_accuracy=values[3])
    assert clues.verdict in verdicts.VERDICTS and clues.text.startswith(clues.verdict)
    assert clues.from_step is None or clues.verdict in (
        verdicts.OVERFITTING,
        verdicts.INSTABILITY,
        verdicts.CANDIDATE,
        verdicts.PLATEAU,
    )
    assert clues.from_step is not None or clues.verdict not in (
        verdicts.OVERFITTING,
        verdicts.CANDIDATE,
        verdicts.PLATEAU,
    )
    assert str(json.loads(json.dumps(asdict(clues)))) == str(asdict(clues))  # NaN is not itself


@given(st.floats(1e-3, 1e3), st.sampled_from(CASES))
def test_a_verdict_does_not_depend_on_the_units_of_losses_and_rates(scale, case):
    c = curve(case, np.random.default_rng(1), points=40, noise=0.02)
    one, other = (
        clues_of(c.steps, k * c.train_loss, k * c.val_loss, rates=k * c.rates if c.rates is not None else None,
                   chance=k * c.chance if c.chance else None) for k in (1, scale)
    )  # fmt: skip
    assert (one.verdict, one.from_step) == (other.verdict, other.from_step)


def test_columns_of_different_lengths_and_steps_that_do_not_increase_are_errors():
    message = r"^steps has 30 values: must be as many as train_loss \(29\) and val_loss \(30\)"
    with pytest.raises(ValueError, match=message):
        clues_of(STEPS, FALLING[1:], FALLING)
    with pytest.raises(ValueError, match=r"^steps: must increase from each row to the next"):
        clues_of([0, 1, 1], [1.0] * 3, [1.0] * 3)


def test_the_raised_setting_and_settings_of_zero_are_not_lowered():
    sentences = {raised: what_to_lower(raised) for raised in MORE}
    assert sentences["learning rate"].endswith("less weight decay, then less dropout, then larger batches")
    assert sentences["batch size"].startswith("smaller batches")
    assert sentences["batch size"].endswith("less weight decay, then less dropout, then a smaller learning rate")
    assert "less weight decay" not in sentences["weight decay"]
    bare = what_to_lower("learning rate", Regularizers(0.1, 64, weight_decay=0.0, dropout=0.0))
    assert bare.endswith("to compensate, try larger batches")
    with pytest.raises(ValueError, match=r"^raised = 'momentum': must be one of batch size, dropout"):
        what_to_lower("momentum")


def test_every_verdict_has_advice_unless_there_were_too_few_validations():
    assert {verdict for verdict in verdicts.VERDICTS if not advise(verdict)} == {
        verdicts.TOO_SHORT,
        verdicts.NO_VALIDATION,
    }
    assert "below the 0.12 at which it began" in advise(verdicts.INSTABILITY, rate=0.12)
    assert "schedule=cosine" in advise(verdicts.UNCLEAR)
    assert "schedule=one_cycle" in advise(verdicts.CANDIDATE)
    assert "schedule=one_cycle" not in advise(verdicts.CANDIDATE, falls=True)
    assert advise(verdicts.UNCLEAR, falls=True) == "Try first: validation on more samples."
    optimizer = {"lr": 0.1, "weight_decay": 1e-4}
    settings = Regularizers.of({"optimizer": optimizer, "model": {"dropout": 0.0}, "datamodule": {"batch_size": 8}})
    assert settings == Regularizers(0.1, 8, 1e-4, 0.0)
    assert Regularizers.of({"optimizer": {"_target_": "torch.optim.AdamW"}}).decoupled


@pytest.mark.parametrize(
    ("verdict", "settings", "first"),
    [
        (verdicts.OVERFITTING, Regularizers(), "more weight decay"),
        (verdicts.OVERFITTING, Regularizers(weight_decay=0.0), "weight decay 0.001 instead of 0"),
        (verdicts.MEMORIZED, Regularizers(weight_decay=2e-3), "weight decay 0.006 instead of 0.002"),
        (verdicts.MEMORIZED, Regularizers(weight_decay=0.02), "dropout 0.2"),
        (verdicts.MEMORIZED, Regularizers(weight_decay=0.02, dropout=0.2), "dropout of more than 0.2"),
        (verdicts.MEMORIZED, Regularizers(weight_decay=0.01, decoupled=True), "weight decay 0.1 instead of 0.01"),
        (verdicts.REGULARIZED, Regularizers(weight_decay=0.1, dropout=0.1), "weight decay 0.01 instead of 0.1"),
        (verdicts.REGULARIZED, Regularizers(dropout=0.75), "dropout 0.2 instead of 0.75"),
        (verdicts.INSTABILITY, Regularizers(0.3), "a learning rate of 0.1 instead of 0.3"),
        (verdicts.UNDERFITTING, Regularizers(0.01), "twice as many epochs, or a learning rate of 0.03 instead of 0.01"),
    ],
)
def test_what_to_try_first_is_one_setting_with_its_value(verdict, settings, first):
    advice = advise(verdict, settings)
    assert advice.startswith(f"Try first: {first}") and advice.endswith(".")
