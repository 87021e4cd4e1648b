"""Statistics of start epochs: agreement with scipy, known relations, and the coverage of intervals."""

from itertools import product
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import somersd, spearmanr

from start_training.analysis import start_relation as module
from start_training.analysis.start_relation import (
    RELATIONS,
    Concordance,
    ConfidenceInterval,
    StartEpochs,
    beta_relation,
    growth_relation,
    rank_correlation,
)
from start_training.theory.beta import beta

MAXIMUM = 30
FAMILIES = ([30, 10], [15], [20], [40])  # widths, repeated up to the depth


def starts_of(epochs, started=True, cells=None) -> StartEpochs:
    cells = range(len(epochs)) if cells is None else cells
    return StartEpochs(np.array(epochs, float), np.array(started) & np.ones(len(epochs), bool), np.array(cells))


def sweep(seed: int, law: str, *, seeds: int = 3, spread: float = 0.25) -> pd.DataFrame:
    """Start epochs exp(law) times noise, censored at the maximum, of families of widths."""
    rows, generator = [], np.random.default_rng(seed)
    for (number, widths), depth in product(enumerate(FAMILIES), range(4, 60, 6)):
        reciprocals = round(beta([widths[j % len(widths)] for j in range(depth)]), 9)
        for _ in range(seeds):
            growth = depth * abs((-0.6, -0.2, 0.0, 0.6)[number] + 0.01 * generator.standard_normal())
            slowness = {"beta": reciprocals, "depth": depth / 18, "neither": 1.5}[law]
            epoch = np.ceil(2 * np.exp(slowness + spread * generator.standard_normal()))
            row = {"configuration": f"{number} {depth}", "depth": depth, "beta": reciprocals, "log_growth": growth}
            rows.append(row | {"started": epoch <= MAXIMUM, "observed_epoch": min(epoch, MAXIMUM)})
    return pd.DataFrame(rows).astype({"started": "boolean"})


def differences(table: pd.DataFrame) -> tuple[ConfidenceInterval, ConfidenceInterval]:
    concordance, scores = Concordance(StartEpochs.of(table)), (table["beta"], table["depth"])
    return concordance.difference(*scores), concordance.where_they_differ(*scores)


def obvious_concordance(epochs, started, cells, scores) -> float:
    agree = total = 0.0
    for i, j in product(range(len(epochs)), repeat=2):
        later = epochs[j] > epochs[i] or (epochs[j] == epochs[i] and not started[j])
        if cells[i] != cells[j] and started[i] and later:
            total += 1
            agree += 1.0 if scores[i] < scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return agree / total if total else np.nan


@patch.object(module, "RESAMPLES", 20)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 9)), min_size=2, max_size=12))
def test_the_concordance_is_that_of_a_loop_over_pairs_and_of_somers_d_without_censoring(runs):
    drawn, scores, cells = map(np.array, zip(*runs, strict=True))
    epochs, started, cells = np.minimum(drawn, 4), drawn <= 4, pd.factorize(cells)[0]
    found = Concordance(starts_of(epochs, started, cells)).of(scores).value
    assert found == pytest.approx(obvious_concordance(epochs, started, cells, scores), nan_ok=True)
    if len(set(drawn)) > 1 and len(set(scores)) > 1:
        found = Concordance(starts_of(drawn)).of(scores).value
        assert found == pytest.approx((somersd(drawn, scores).statistic + 1) / 2)


def test_intervals_are_those_of_a_bootstrap_over_configurations(monkeypatch):
    """Resampled row by row: quantiles of the concordance; of the correlation's artanh, 1.96 deviations without bias."""
    monkeypatch.setattr(module, "RESAMPLES", 200)
    random, cells = np.random.default_rng(0), np.repeat(np.arange(12), 2)
    scores = np.repeat(random.integers(0, 9, 12), 2)
    epochs = scores + random.integers(0, 9, 24)
    starts, correlations, shares = starts_of(epochs, epochs < 13, cells), [], []
    for counts in starts.resampled_cells()[1:]:
        drawn = np.concatenate([np.flatnonzero(cells == cell) for cell in np.repeat(np.arange(12), counts)])
        correlations.append(np.arctanh(spearmanr(scores[drawn], epochs[drawn]).statistic))
        shares.append(obvious_concordance(epochs[drawn], epochs[drawn] < 13, cells[drawn], scores[drawn]))
    value = spearmanr(scores, epochs).statistic
    center, reach = np.arctanh(value) + (np.arctanh(value) - np.mean(correlations)), 1.96 * np.std(correlations)
    found = rank_correlation(starts, scores)
    expected = (value, np.tanh(center - reach), np.tanh(center + reach))
    assert (found.value, found.low, found.high) == pytest.approx(expected)
    found = Concordance(starts).of(scores)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
    assert str(ConfidenceInterval(0.5, 0.25, 1.0)) == "0.50 [0.25, 1.00]"


def test_as_many_cells_are_drawn_with_replacement_as_there_are():
    drawn = starts_of([1] * 40, cells=np.repeat(np.arange(10), 4)).resampled_cells(seed=1)
    assert drawn.shape == (module.RESAMPLES + 1, 10)
    assert (drawn[0] == 1).all() and (drawn.sum(1) == 10).all()
    deviations = drawn[1:].mean(0) - 1  # of counts of variance 0.9
    assert np.abs(deviations).max() < 4 * (0.9 / module.RESAMPLES) ** 0.5
    assert not np.array_equal(drawn, starts_of([1] * 10).resampled_cells(seed=2))


def test_infinite_scores_are_ranked_and_a_perfect_correlation_has_an_interval():
    found = rank_correlation(starts_of([1, 2, 3, 4]), [1, 2, 3, np.inf])
    assert (found.value, found.high) == pytest.approx((1, 1))


def test_the_share_of_pairs_that_two_scores_order_differently():
    concordance = Concordance(starts_of([1, 2, 3]))
    assert concordance.share_that_differs([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert concordance.share_that_differs([1, 2, 3], [1, 2, 2]) == pytest.approx(1 / 3)  # a tie in one score
    assert concordance.where_they_differ([1, 2, 3], [1, 3, 2]).value == 1
    assert concordance.where_they_differ([1, 3, 2], [1, 2, 3]).value == 0
    assert concordance.where_they_differ([1, 2, 3], [10, 20, 30]).value == pytest.approx(np.nan, nan_ok=True)
    assert Concordance(starts_of([9, 9], False)).share_that_differs([1, 2], [2, 1]) == 0


@pytest.mark.parametrize("seed", range(3))
def test_beta_explains_starts_that_follow_beta_and_depth_those_that_follow_depth(seed):
    better, right = differences(sweep(seed, "beta"))
    assert better.low > 0 and right.low > 0.5
    better, right = differences(sweep(seed, "depth"))
    assert better.high < 0 and right.high < 0.5


def test_intervals_contain_no_difference_if_neither_score_matters(monkeypatch):
    monkeypatch.setattr(module, "RESAMPLES", 300)
    found = [differences(sweep(seed, "neither"))[0] for seed in range(40)]
    assert sum(not better.low <= 0 <= better.high for better in found) <= 6  # 2 expected; 7 or more: 0.4%


def coverage(estimate, draw, *, times: int) -> float:
    """The share of small samples whose interval contains the value of large samples."""
    truth = np.mean([estimate(*draw(np.random.default_rng(10_000 + time), 200)).value for time in range(4)])
    estimates = [estimate(*draw(np.random.default_rng(time), 40)) for time in range(times)]
    return float(np.mean([interval.low <= truth <= interval.high for interval in estimates]))


def cells_of(generator: np.random.Generator, count: int, *, noise: float) -> tuple[StartEpochs, np.ndarray, np.ndarray]:
    """`count` configurations of random depth and width with 3 seeds each, whose starts depend on beta and chance."""
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
def test_intervals_have_their_nominal_coverage(estimate, noise, monkeypatch):
    monkeypatch.setattr(module, "RESAMPLES", 300)
    draws = {"times": 100, "draw": lambda generator, count: cells_of(generator, count, noise=noise)}
    covered = coverage(estimate, **draws)
    over_runs = coverage(lambda starts, *of: estimate(starts_of(starts.epochs, starts.started), *of), **draws)
    assert covered > 0.86  # 95% less four standard errors of 100 trials
    assert noise < 0.5 or over_runs < covered  # intervals over runs instead of configurations are too narrow


def test_a_relation_names_its_sample_and_skips_runs_without_a_known_start():
    table = sweep(0, "beta")
    concordance, never = Concordance(StartEpochs.of(table)), int((~table["started"]).sum())
    more = pd.concat([table, table.drop(columns=["started", "observed_epoch"]), table.drop(columns="beta")])
    for known, relation in RELATIONS.items():
        assert relation(table).endswith(
            f"({len(table)} runs, {never} of them never started; 95% intervals over 40 configurations)"
        )
        assert (relation(more) == relation(table)) == (known == "beta")  # the last third has a growth rate but no beta
    difference, right = differences(table)
    share = concordance.share_that_differs(table["beta"], table["depth"])
    for text in (f"with beta {concordance.of(table['beta'])}, with depth {concordance.of(table['depth'])}",
                 f"difference {difference}; of the {share:.0%} of pairs", f"a share of {right} correct"):  # fmt: skip
        assert text in beta_relation(table)
    assert "beta and depth order all pairs in the same way" in beta_relation(
        table[table["configuration"].str.startswith("1 ")]
    )
    with pytest.raises(ValueError, match="fewer than three configurations have a start of training and log_growth"):
        growth_relation(table[:6])
    never = table.assign(started=False, observed_epoch=MAXIMUM)[:9]
    assert "rank correlation undefined, concordance undefined" in growth_relation(never)
