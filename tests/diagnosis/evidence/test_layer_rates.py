"""Tests of rates, errors and spreads from few nets: against calculations by hand and samples of a known law."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.diagnosis.evidence.layer_rates import (
    rates,
    ratios_backward,
    ratios_forward,
    relative_variance,
    spread,
    spread_limit,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def chain(random, *, nets, depth, width, samples=1):
    """Sample lengths of critical Gaussian ReLU nets, shape (nets, d + 1, samples).

    Given its input, a layer of n units has K ~ Binomial(n, 1/2) active units, and M_j / M_{j−1} = 2/n χ²_K
    (Hanin & Rolnick 2018, arXiv:1803.01719).
    """
    active = random.binomial(width, 0.5, (nets, depth, samples))
    ratios = 2 / width * np.where(active > 0, random.chisquare(np.maximum(active, 1)), 0.0)
    return np.concatenate([np.ones((nets, 1, samples)), np.cumprod(ratios, axis=1)], axis=1)


def test_rates_are_logs_of_means_corrected_for_bias():
    ratios = np.array([[1.0, 2.0, np.nan], [2.0, 5.0, 3.0], [6.0, np.nan, np.nan]])
    estimate = rates(ratios)
    variance = np.array([np.var([1, 2, 6], ddof=1) / 9, np.var([2, 5], ddof=1) / 3.5**2])
    np.testing.assert_allclose(estimate.variance[:2], variance)
    np.testing.assert_allclose(estimate.log[:2], np.log([3, 3.5]) + variance / (2 * np.array([3, 2])))
    assert estimate.nets.tolist() == [3, 2, 1] and estimate.known.tolist() == [True, True, False]
    assert math.isnan(estimate.log[2]) and math.isnan(estimate.variance[2])
    np.testing.assert_array_equal(estimate.judged, estimate.log[:2])
    assert estimate.drift_error == pytest.approx(2 * math.sqrt(variance[1] / 2))  # 2 known layers, 1 in the later half
    four = rates(np.array([[1.0, 2, 3, 4], [2.0, 5, 5, 2]]))
    assert four.drift_error == pytest.approx(4 / 2 * math.sqrt((four.variance[2:] / 2).sum()))
    none = rates(np.full((3, 2), np.nan))
    assert np.isnan(none.judged).all() and none.drift_error == 0


def test_ten_narrow_nets_show_no_drift_although_their_mean_lengths_shrink(random):
    drifts, errors, naive = [], [], []
    for _ in range(200):
        lengths = chain(random, nets=10, depth=100, width=10)[..., 0]
        forward = rates(ratios_forward(lengths))
        drifts.append(2 * forward.log[50:].sum())
        errors.append(forward.drift_error)
        naive.append(math.log(lengths[:, -1].mean()))
    deviation = np.std(drifts, ddof=1)
    assert abs(np.mean(drifts)) < 4 * deviation / math.sqrt(200)
    assert np.mean(errors) == pytest.approx(deviation, rel=0.2)
    assert np.mean(naive) < -5  # the control: from means of M_d these nets shrink


def test_dead_nets_are_left_out_and_exploded_nets_have_no_finite_rate():
    lengths = np.array([[1.0, 2.0, 4.0, 0.0], [1.0, 2.0, 0.0, 0.0], [1.0, 2.0, 4.0, 4.0]])
    np.testing.assert_array_equal(rates(ratios_forward(lengths)).nets, [3, 2, 1])
    np.testing.assert_allclose(rates(ratios_forward(lengths)).judged, [math.log(2), math.log(2)])
    exploded = rates(ratios_forward(np.array([[1.0, np.inf, np.inf]] * 3)))
    assert exploded.known.all() and not np.isfinite(exploded.log).any()
    np.testing.assert_allclose(ratios_backward(np.array([[8.0, 4.0, 1.0]])), [[2.0, 4.0]])  # from later to earlier


def test_a_relative_variance_is_pooled_over_inputs():
    ratios = np.array([[1.0, 2.0, np.nan], [3.0, 2.5, 7.0], [2.0, np.nan, np.nan]])
    variances, means, nets = np.array([1, 0.125]), np.array([2, 2.25]), np.array([3, 2])
    assert relative_variance(ratios) == pytest.approx(variances.sum() / (means**2 - variances / nets).sum())
    assert relative_variance(np.ones((4, 2))) == relative_variance(np.zeros((4, 2))) == 0
    assert relative_variance(np.full((4, 2), np.nan)) == 0
    # From two nets the squared mean cannot be distinguished from 0.
    assert relative_variance(np.array([[0.0], [1.0]])) == math.inf


def test_the_spread_equals_beta_up_to_second_order_in_reciprocal_widths(random):
    lengths = chain(random, nets=20_000, depth=5, width=20)
    measured = spread(list(lengths.transpose(1, 0, 2)))
    np.testing.assert_allclose(measured, math.log1p(5 / 20) / 5, rtol=0.05)
    fewer = spread([lengths[:, 0].repeat(3, axis=1), lengths[:, 1]])  # layers with different numbers of samples
    np.testing.assert_allclose(fewer, measured[:1])


@given(st.integers(0, 2**32), st.floats(-3, 3))
def test_the_spread_does_not_depend_on_scale_nor_on_the_order_of_nets_and_samples(seed, log_scale):
    random = np.random.default_rng(seed)
    lengths = list(chain(random, nets=6, depth=2, width=20, samples=3).transpose(1, 0, 2))
    nets, samples, factors = random.permutation(6), random.permutation(3), np.exp(log_scale * np.arange(3))
    other = [factor * layer[nets][:, samples] for layer, factor in zip(lengths, factors, strict=True)]
    np.testing.assert_allclose(spread(other), spread(lengths))
    np.testing.assert_allclose(
        rates(np.array([[1.0, 3.0], [2, 4]])[::-1]).log, rates(np.array([[1.0, 3.0], [2, 4]])).log
    )


@pytest.mark.parametrize(("nets", "quantile"), [(3, 0.0506356), (10, 2.7003895)])
def test_spread_limit_is_the_upper_confidence_bound_of_the_largest_variance(random, nets, quantile):
    """The bound is s² (N − 1) / χ²_{N−1}(0.025), with quantiles from a table, in the layer where it is largest."""
    narrow, wide = np.exp(random.normal(0, 0.1, (nets, 2))), np.exp(random.normal(0, 0.8, (nets, 2)))
    start = np.exp(random.normal(0, 0.3, (nets, 2)))
    variance = np.log(wide / start).var(0, ddof=1).mean()
    for layers in ([start, wide, narrow], [start, narrow, wide]):
        assert spread_limit(layers) == pytest.approx(variance * (nets - 1) / quantile / 5)
    one_alive = [np.ones((2, 1)), np.array([[1.0], [0.0]])]
    assert spread_limit(one_alive) == spread_limit([start, wide[:, :1]]) == math.inf  # the variance is unknown
