"""The clues on curves made to be each case, with noise: how often they are right, and that they can be wrong."""

import json

import numpy as np
import pytest

from src.schedules import trend
from src.schedules.clues import (
    CANDIDATE,
    INSTABILITY,
    NO_VALIDATION,
    NOT_LEARNING,
    OVERFITTING,
    PLATEAU,
    TOO_SHORT,
    UNDERFITTING,
    VERDICTS,
    read_clues,
)
from src.schedules.regularization import MORE, Regularizers, advise, what_to_lower
from tests.schedules.made_curves import CASES, CHANCE, curve

STEPS = np.arange(1, 31) * 20 - 1
X = np.arange(1, 31) / 30
FALLING = 0.2 + 2 * np.exp(-X / 0.1)


def confusion(*, each: int, points: tuple[int, int] = (8, 200), noise: tuple[float, float] = (0.003, 0.05)):
    """Verdicts on `each` curves of every case: length and noise at random, both uniform in their logarithm."""
    found = {}
    for number, case in enumerate(CASES):
        random = np.random.default_rng((0, number))
        drawn = [np.exp(random.uniform(*np.log([points, noise]).T)) for _ in range(each)]
        made = [curve(case, random, points=round(length), noise=deviation) for length, deviation in drawn]
        read = [read_clues(c.steps, c.train_loss, c.val_loss, rates=c.rates, chance=c.chance) for c in made]
        found[case] = [clues.verdict for clues in read]
    return found


def errors(found) -> dict[str, float]:
    return {case: float(np.mean([verdict != case for verdict in verdicts])) for case, verdicts in found.items()}


def test_one_in_a_hundred_curves_is_misread():
    wrong = errors(confusion(each=250))
    assert np.mean(list(wrong.values())) < 0.015  # 0.7% of 3,000; its standard error over these 1,500 is 0.2%
    assert max(wrong.values()) < 0.04


def test_curves_of_few_noisy_points_are_misread_more_often_and_seldom_by_a_false_alarm():
    found = confusion(each=100, points=(8, 15), noise=(0.05, 0.1))
    wrong = errors(found)
    assert wrong[UNDERFITTING] > 0.2  # a fall of a fifth is no more than its noise
    assert wrong[PLATEAU] < 0.15
    assert found[UNDERFITTING].count(PLATEAU) > 0.9 * sum(verdict != UNDERFITTING for verdict in found[UNDERFITTING])


def test_without_the_account_of_noise_plateaus_would_be_misread(monkeypatch):
    settings = {"each": 100, "points": (8, 60), "noise": (0.05, 0.2)}
    assert errors(confusion(**settings))[PLATEAU] < 0.15
    monkeypatch.setattr(trend, "SIGMAS", 0.0)
    monkeypatch.setattr(trend.Trend, "_luck", 0.0)
    assert errors(confusion(**settings))[PLATEAU] > 0.3


def test_noise_as_large_as_the_curve_hides_it():
    wrong = errors(confusion(each=40, noise=(2.0, 3.0)))
    assert np.mean([wrong[case] for case in (UNDERFITTING, OVERFITTING, PLATEAU)]) > 0.4


def test_overfitting_is_from_the_lowest_validation_loss_on_and_at_its_rate():
    rise = np.maximum(X - 0.5, 0)
    rates = np.linspace(0.1, 0.01, 30)
    clues = read_clues(STEPS, FALLING * (1 - 0.8 * X), FALLING * (1 + 2 * rise), rates=rates)
    assert clues.verdict == OVERFITTING
    assert abs(clues.from_step - 0.5 * STEPS[-1]) <= 40
    assert clues.rate == rates[STEPS.tolist().index(clues.from_step)]
    assert "training loss went from" in clues.text


def test_the_same_rise_with_the_training_losss_is_an_instability():
    rates = np.geomspace(0.01, 0.1, 30)
    jump = np.where(X > 0.7, 8.0, 1.0)
    clues = read_clues(STEPS, FALLING * jump, FALLING * jump, rates=rates)
    assert (clues.verdict, clues.from_step) == (INSTABILITY, STEPS[20])
    assert clues.rate == rates[20]
    only_validation = read_clues(STEPS, FALLING, FALLING * jump, rates=rates)
    assert only_validation.verdict == OVERFITTING


def test_what_rises_in_mid_cycle_and_falls_again_is_no_overfitting():
    hump = 1 + 3 * np.exp(-(((X - 0.5) / 0.1) ** 2))
    rates = np.interp(X, [0, 0.45, 0.9, 1], [0.01, 0.1, 0.01, 1e-5])
    recovered = read_clues(STEPS, FALLING * hump, FALLING * hump, rates=rates)
    assert recovered.verdict == PLATEAU
    cut_off = X < 0.6  # in mid-cycle, the same curve has risen
    assert read_clues(STEPS[cut_off], (FALLING * hump)[cut_off], (FALLING * hump)[cut_off]).verdict == INSTABILITY


def test_a_fall_under_a_falling_rate_is_said_to_be_that():
    falling = 2 - X
    rates = np.linspace(0.1, 0.001, 30)
    said = [read_clues(STEPS, falling, falling, rates=each).text for each in (rates, None)]
    assert ["rate fell" in text for text in said] == [True, False]


@pytest.mark.parametrize("ends", ["well", "unstable"])
def test_a_ramp_that_stays_near_its_best_over_tenfold_rates_is_a_candidate(ends):
    jump = np.where((X > 0.85) & (ends == "unstable"), 8.0, 1.0)
    wide, narrow = np.geomspace(1e-3, 10, 30), np.geomspace(0.1, 0.4, 30)
    clues = read_clues(STEPS, FALLING * jump, FALLING * jump, rates=wide, chance=CHANCE)
    assert clues.verdict == CANDIDATE
    assert clues.numbers["high_rate"] >= 10 * clues.numbers["low_rate"]
    assert ("unstable above" in clues.text) == (ends == "unstable")
    control = read_clues(STEPS, FALLING * jump, FALLING * jump, rates=narrow, chance=CHANCE)
    assert control.verdict == {"well": PLATEAU, "unstable": INSTABILITY}[ends]


def test_rounding_does_not_make_a_fall_of_rates_that_stay():
    wide, jump = np.minimum(np.geomspace(1e-3, 10, 30), 1.0), np.where(X > 0.85, 8.0, 1.0)
    for less, verdict in ((np.spacing(1.0), CANDIDATE), (0.1, INSTABILITY)):
        rates = wide - less * (np.arange(30) % 2) * (wide == 1)
        assert read_clues(STEPS, FALLING * jump, FALLING * jump, rates=rates, chance=CHANCE).verdict == verdict


def test_a_cycle_is_a_candidate_if_it_is_near_its_best_at_its_largest_rate():
    rates = np.interp(X, [0, 0.45, 0.9, 1], [0.01, 0.1, 0.009, 1e-5])
    assert read_clues(STEPS, FALLING, FALLING, rates=rates, chance=CHANCE).verdict == CANDIDATE
    hump = 1 + 3 * np.exp(-(((X - 0.45) / 0.15) ** 2))
    assert read_clues(STEPS, FALLING * hump, FALLING * hump, rates=rates, chance=CHANCE).verdict == PLATEAU
    falling_only = np.geomspace(0.1, 1e-4, 30)
    assert read_clues(STEPS, FALLING, FALLING, rates=falling_only, chance=CHANCE).verdict == PLATEAU


def test_accuracy_that_falls_is_not_near_the_best():
    rates = np.geomspace(1e-3, 10, 30)
    accuracy = np.where(X > 0.3, 0.8, 0.97)
    clues = read_clues(STEPS, FALLING, FALLING, rates=rates, val_accuracy=accuracy, chance=CHANCE)
    assert clues.verdict == PLATEAU


@pytest.mark.parametrize("at", [0, 3, 15, 29])
@pytest.mark.parametrize("loss", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_is_an_instability_from_its_step(at, loss):
    train, val = FALLING.copy(), FALLING.copy()
    train[at:] = val[at:] = loss
    clues = read_clues(STEPS, train, val, rates=np.full(30, 0.1))
    assert (clues.verdict, clues.from_step) == (INSTABILITY, STEPS[at])
    assert clues.rate == (0.1 if at else None)
    assert f"step {STEPS[at]} is not finite" in clues.text


def test_divergence_between_two_rows_is_told():
    clues = read_clues(STEPS[:10], FALLING[:10], FALLING[:10], diverged_at=205)
    assert (clues.verdict, clues.from_step) == (INSTABILITY, 205)
    assert read_clues([], [], [], diverged_at=3).from_step == 3


def test_a_net_that_stays_at_a_guess_does_not_learn():
    flat = np.full(30, CHANCE)
    assert read_clues(STEPS, flat, flat, chance=CHANCE).verdict == NOT_LEARNING
    assert read_clues(STEPS, flat, flat).verdict == NOT_LEARNING
    assert read_clues(STEPS, 0.5 * flat, 0.5 * flat, chance=CHANCE).verdict == PLATEAU


def test_labels_learned_by_heart_are_overfitting_though_validation_never_learned():
    clues = read_clues(STEPS, CHANCE * np.exp(-3 * X), CHANCE * (1 + X), chance=CHANCE)
    assert clues.verdict == OVERFITTING


def test_what_falls_back_to_a_guess_is_an_instability():
    val = np.where(X < 0.3, 1.5, CHANCE)
    train = np.where(X < 0.3, 1.5, CHANCE)
    train[0] = 50.0
    assert read_clues(STEPS, train, val, chance=CHANCE).verdict == INSTABILITY


@pytest.mark.parametrize("points, verdict", [(0, NO_VALIDATION), (1, TOO_SHORT), (5, TOO_SHORT), (6, PLATEAU)])
def test_too_few_validations_tell_nothing(points, verdict):
    assert read_clues(STEPS[:points], [0.1] * points, [0.1] * points, chance=CHANCE).verdict == verdict
    rows = read_clues(STEPS, FALLING, np.where(np.arange(30) >= 30 - points, 0.1, np.nan), chance=CHANCE)
    assert rows.verdict == verdict  # what was trained before is no validation


def test_rows_between_validations_are_averaged_into_the_next():
    steps, random = np.arange(300), np.random.default_rng(0)
    train = 0.2 + 2 * np.exp(-steps / 30) + 0.05 * random.normal(size=300)
    val = np.where(steps % 10 == 9, 0.3 + 2 * np.exp(-steps / 30), np.nan)
    clues = read_clues(steps, train, val, rates=np.full(300, 0.1))
    assert clues.verdict == PLATEAU
    assert clues.numbers["end_train_loss"] == pytest.approx(0.2, abs=0.02)


def test_training_loss_is_not_needed():
    assert read_clues(STEPS, np.full(30, np.nan), FALLING).verdict == PLATEAU
    rising = FALLING * (1 + 2 * np.maximum(X - 0.5, 0))
    clues = read_clues(STEPS, np.full(30, np.nan), rising)
    assert clues.verdict == OVERFITTING
    assert "was not measured" in clues.text


def test_clues_are_plain_data():
    data = read_clues(STEPS, FALLING, FALLING, rates=np.full(30, 0.1), chance=CHANCE).as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["text"].startswith(data["verdict"])


def test_rows_of_unequal_length_are_a_mistake():
    with pytest.raises(ValueError, match=r"^steps = 30 of them: must be as many as losses, 29 and 30"):
        read_clues(STEPS, FALLING[1:], FALLING)


def test_steps_that_do_not_rise_are_a_mistake():
    with pytest.raises(ValueError, match=r"^steps: must rise from row to row"):
        read_clues([0, 1, 1], [1.0] * 3, [1.0] * 3)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_losses_are_there_is_a_verdict(seed):
    random = np.random.default_rng(seed)
    rows = int(random.integers(0, 30))
    some = [0.0, 1e-30, 0.1, 1.0, 2.0, 1e30, -1.0, np.nan, np.inf]
    values = random.choice(some, size=(4, rows), p=[0.1, 0.1, 0.2, 0.25, 0.2, 0.02, 0.02, 0.1, 0.01])
    steps = np.cumsum(random.integers(1, 100, size=rows))
    clues = read_clues(steps, values[0], values[1], rates=values[2], val_accuracy=values[3])
    assert clues.verdict in VERDICTS
    assert (clues.from_step is None) == (clues.verdict in (UNDERFITTING, NOT_LEARNING, TOO_SHORT, NO_VALIDATION))


def test_what_is_raised_does_not_give_way_nor_what_is_zero():
    sentences = {raised: what_to_lower(raised) for raised in MORE}
    assert sentences["learning rate"].endswith("less weight decay, then less dropout, then larger batches")
    assert sentences["batch size"].startswith("smaller batches")
    assert sentences["batch size"].endswith("less weight decay, then less dropout, then a smaller learning rate")
    assert "less weight decay" not in sentences["weight decay"]
    bare = what_to_lower("learning rate", Regularizers(0.1, 64, weight_decay=0.0, dropout=0.0))
    assert bare.endswith("in balance with it: larger batches")
    with pytest.raises(ValueError, match=r"^raised = 'momentum': must be one of batch size, dropout"):
        what_to_lower("momentum")


def test_advice_is_for_verdicts_that_tell_something():
    assert {verdict for verdict in VERDICTS if not advise(verdict)} == {TOO_SHORT, NO_VALIDATION}
    assert "below 0.12" in advise(INSTABILITY, rate=0.12)
    settings = Regularizers.of({"optimizer": {"lr": 0.1, "weight_decay": 1e-4}, "model": {"dropout": 0.0}})
    assert advise(UNDERFITTING, settings).endswith("regularize less: less weight decay, then larger batches")
    assert advise(OVERFITTING, settings).startswith("regularize more: a larger learning rate")
