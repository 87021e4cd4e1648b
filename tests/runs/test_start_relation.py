"""What start epochs go with: the statistics by hand and by others' code, the laws they are to tell apart, coverage."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from src.runs import start_relation as module
from src.runs.start_relation import (
    RELATIONS,
    Concordance,
    Estimate,
    StartEpochs,
    beta_relation,
    growth_relation,
    rank_correlation,
)
from src.theory.beta import beta

MAXIMUM = 30
FAMILIES = ([30, 10], [15], [20], [40])  # in turn


def starts_of(epochs: list[float], started: list[bool], cells: list[int] | None = None) -> StartEpochs:
    cells = list(range(len(epochs))) if cells is None else cells
    return StartEpochs(np.array(epochs, float), np.array(started), np.array(cells))


def sweep(generator: np.random.Generator, law: str, *, seeds: int = 3, spread: float = 0.25) -> pd.DataFrame:
    """Start epochs exp(law) times noise, censored at the maximum: of families of widths, or of growth rates."""
    rows = []
    for (number, widths), depth in product(enumerate(FAMILIES), range(4, 60, 6)):
        sum_of_reciprocals = round(beta([widths[j % len(widths)] for j in range(depth)]), 9)
        rate = (-0.6, -0.2, 0.0, 0.6)[number]
        for _ in range(seeds):
            growth = depth * abs(rate + 0.01 * generator.standard_normal())
            slowness = {"beta": sum_of_reciprocals, "depth": depth / 18, "growth": growth / 7, "neither": 1.5}[law]
            epoch = np.ceil(2 * np.exp(slowness + spread * generator.standard_normal()))
            rows.append(
                {
                    "configuration": f"{number} {depth}",
                    "depth": depth,
                    "beta": sum_of_reciprocals,
                    "log_growth": growth,
                    "started": epoch <= MAXIMUM,
                    "observed_epoch": min(epoch, MAXIMUM),
                }
            )
    return pd.DataFrame(rows).astype({"started": "boolean"})


def differences(table: pd.DataFrame) -> tuple[Estimate, Estimate]:
    concordance = Concordance(StartEpochs.of(table))
    return (
        concordance.difference(table["beta"], table["depth"]),
        concordance.where_they_differ(table["beta"], table["depth"]),
    )


def test_the_rank_correlation_is_spearmans():
    random = np.random.default_rng(0)
    epochs, scores = random.integers(1, 6, 40), random.integers(0, 5, 40)
    starts = starts_of([*epochs], [True] * 40)
    assert rank_correlation(starts, scores).value == pytest.approx(spearmanr(scores, epochs).statistic)
    endless = np.where(scores == 4, np.inf, scores)  # of a net whose lengths overflow
    assert rank_correlation(starts, endless).value == rank_correlation(starts, scores).value


def obvious_concordance(epochs, started, cells, scores) -> float:
    agree = total = 0.0
    for i, j in product(range(len(epochs)), repeat=2):
        later = epochs[j] > epochs[i] or (epochs[j] == epochs[i] and not started[j])
        if cells[i] != cells[j] and started[i] and later:
            total += 1
            agree += 1.0 if scores[i] < scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return agree / total


def test_the_concordance_counts_pairs_one_by_one():
    random = np.random.default_rng(0)
    drawn, scores, cells = random.integers(1, 9, 60), random.integers(0, 6, 60), random.integers(0, 20, 60)
    cells = pd.factorize(cells)[0]
    epochs, started = np.minimum(drawn, 5), drawn <= 5
    expected = obvious_concordance(epochs, started, cells, scores)
    assert Concordance(starts_of(epochs, started, cells)).of(scores).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epochs", "started", "scores", "value"),
    [
        ([1, 2, 3], [True] * 3, [1, 2, 3], 1.0),
        ([1, 2, 3], [True] * 3, [3, 2, 1], 0.0),
        ([1, 2, 3], [True] * 3, [7, 7, 7], 0.5),
        ([1, 9, 9], [True, False, False], [1, 3, 2], 1.0),  # of two that never started, nobody knows which is later
        ([9, 9], [True, False], [1, 2], 1.0),  # in the last epoch is before never
        ([9, 9, 9], [False] * 3, [1, 2, 3], np.nan),
    ],
)
def test_the_concordance_by_hand(epochs, started, scores, value):
    concordance = Concordance(starts_of(epochs, started))
    assert concordance.of(scores).value == pytest.approx(value, nan_ok=True)


def test_the_share_of_pairs_that_two_scores_order_differently():
    concordance = Concordance(starts_of([1, 2, 3], [True] * 3))
    assert concordance.share_that_differs([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert concordance.share_that_differs([1, 2, 3], [1, 2, 2]) == pytest.approx(1 / 3)  # a tie is no order
    assert concordance.where_they_differ([1, 2, 3], [1, 3, 2]).value == 1
    assert concordance.where_they_differ([1, 3, 2], [1, 2, 3]).value == 0
    assert concordance.where_they_differ([1, 2, 3], [10, 20, 30]).value == pytest.approx(np.nan, nan_ok=True)


def test_nets_of_one_configuration_are_not_compared():
    starts = starts_of([1, 5, 3, 9], [True] * 4, [0, 0, 1, 1])
    assert Concordance(starts).of([0, 0, 1, 1]).value == 0.75  # 5 before 3 is wrong; 1 before 3 and 9, 5 before 9


@pytest.mark.parametrize("seed", range(3))
def test_beta_explains_what_beta_made_and_depth_what_depth_made(seed):
    random = np.random.default_rng(seed)
    better, right = differences(sweep(random, "beta"))
    assert better.low > 0
    assert right.low > 0.5
    better, right = differences(sweep(random, "depth"))
    assert better.high < 0
    assert right.high < 0.5


def test_where_neither_explains_anything_no_interval_says_so():
    excluded = 0
    for seed in range(40):
        better, _ = differences(sweep(np.random.default_rng(seed), "neither"))
        excluded += not better.low <= 0 <= better.high
    assert excluded <= 6  # 2 expected of 40; 7 or more has probability 0.4%


def test_growth_explains_what_growth_made_and_nothing_else():
    table = sweep(np.random.default_rng(0), "growth")
    assert not table["started"].all()
    starts = StartEpochs.of(table)
    assert rank_correlation(starts, table["log_growth"]).low > 0.8
    assert Concordance(starts).of(table["log_growth"]).low > 0.8
    none = sweep(np.random.default_rng(0), "neither")
    correlation = rank_correlation(StartEpochs.of(none), none["log_growth"])
    assert correlation.low < 0 < correlation.high


def test_censoring_a_net_that_never_starts_later_changes_nothing():
    """It is known of it only that others started before; a rank correlation or a mean would take it at its word."""
    table = sweep(np.random.default_rng(0), "beta")
    concordance = Concordance(StartEpochs.of(table)).of(table["beta"])
    table["observed_epoch"] = table["observed_epoch"].where(table["started"], 10 * MAXIMUM)
    assert Concordance(StartEpochs.of(table)).of(table["beta"]) == concordance


def coverage(estimate, draw, *, times: int) -> float:
    """How often the interval of a small sample holds the value of large ones."""
    truth = np.mean([estimate(*draw(np.random.default_rng(10_000 + time), 200)).value for time in range(4)])
    estimates = [estimate(*draw(np.random.default_rng(time), 40)) for time in range(times)]
    return float(np.mean([each.low <= truth <= each.high for each in estimates]))


def cells_of(generator: np.random.Generator, count: int, *, noise: float) -> tuple[StartEpochs, np.ndarray, np.ndarray]:
    """So many configurations of random depth and width, 3 seeds each, whose starts go with beta, and with chance."""
    depths, widths = generator.integers(2, 60, count), generator.choice([12, 15, 20, 30], count)
    of_cell = 1.2 * depths / widths + noise * generator.standard_normal(count)
    epochs = np.ceil(np.exp(np.repeat(of_cell, 3) + 0.3 * generator.standard_normal(3 * count)))
    starts = StartEpochs(np.minimum(epochs, MAXIMUM), epochs <= MAXIMUM, np.repeat(np.arange(count), 3))
    return starts, np.repeat((depths / widths).round(9), 3), np.repeat(depths, 3)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.1, 0.8])
@pytest.mark.parametrize(
    "estimate",
    [
        lambda starts, beta, depth: rank_correlation(starts, beta),
        lambda starts, beta, depth: Concordance(starts).of(beta),
        lambda starts, beta, depth: Concordance(starts).difference(beta, depth),
        lambda starts, beta, depth: Concordance(starts).where_they_differ(beta, depth),
    ],
    ids=["rank correlation", "concordance", "difference", "where they differ"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(estimate, noise, monkeypatch):
    monkeypatch.setattr(module, "RESAMPLES", 300)
    held = coverage(estimate, lambda generator, count: cells_of(generator, count, noise=noise), times=100)
    assert held > 0.86  # 95% less four standard errors of 100 trials
    as_if_alone = coverage(
        lambda starts, beta, depth: estimate(_each_run_alone(starts), beta, depth),
        lambda generator, count: cells_of(generator, count, noise=noise),
        times=100,
    )
    assert noise < 0.5 or as_if_alone < held  # seeds of one net are no nets of their own


def _each_run_alone(starts: StartEpochs) -> StartEpochs:
    return StartEpochs(starts.epochs, starts.started, np.arange(len(starts.epochs)))


def test_the_same_table_gives_the_same_sentence_which_says_what_it_stands_on():
    table = sweep(np.random.default_rng(0), "beta")
    never = int((~table["started"]).sum())
    for relation in RELATIONS.values():
        assert relation(table) == relation(table)
        assert f"{len(table)} runs, {never} of them never started; 95% over 40 configurations" in relation(table)
    difference, right = differences(table)
    assert f"difference {difference}" in beta_relation(table)
    assert f"beta is right in {right}" in beta_relation(table)
    assert "the two order all pairs alike" in beta_relation(table[table["configuration"].str.startswith("1 ")])


def test_runs_that_nothing_is_known_of_yet_are_left_out():
    table = sweep(np.random.default_rng(0), "growth")
    more = pd.concat([table, table.assign(started=pd.NA, observed_epoch=pd.NA), table.assign(log_growth=np.nan)])
    assert growth_relation(more) == growth_relation(table)


def test_too_few_configurations_are_no_relation():
    table = sweep(np.random.default_rng(0), "growth")
    with pytest.raises(ValueError, match="log_growth known of fewer than three configurations"):
        growth_relation(table[:6])


def test_a_relation_of_nets_that_all_never_started_is_undefined():
    table = sweep(np.random.default_rng(0), "growth").assign(started=False, observed_epoch=MAXIMUM)
    assert "rank correlation undefined, concordance undefined" in growth_relation(table)
