"""Rates, errors and spreads from few nets, against samples whose law is known."""

import math

import numpy as np
import pytest

from src.diagnosis.rates import rates, ratios_backward, ratios_forward, spread, spread_limit


@pytest.fixture
def random():
    return np.random.default_rng(0)


def chain(random, *, nets, depth, width, samples=1):
    """Lengths (nets, d + 1, samples) of critical Gaussian ReLU nets, by the explicit law of PAPERS section 1."""
    active = random.binomial(width, 0.5, (nets, depth, samples))
    ratios = 2 / width * np.where(active > 0, random.chisquare(np.maximum(active, 1)), 0.0)
    return np.concatenate([np.ones((nets, 1, samples)), np.cumprod(ratios, axis=1)], axis=1)


def test_ten_narrow_nets_show_no_drift_where_their_mean_lengths_seem_to_shrink(random):
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


def test_the_log_of_a_mean_is_corrected_for_its_bias(random):
    samples = random.chisquare(4, (20_000, 10, 1)) / 4  # of mean 1 and relative variance 1/2
    corrected = np.array([rates(ten).log[0] for ten in samples])
    plain = np.log(samples.mean(1))[:, 0]
    assert abs(corrected.mean()) < 0.003
    assert plain.mean() == pytest.approx(-0.025, abs=0.004)


def test_dead_nets_are_left_out_and_too_few_living_ones_are_unknown():
    lengths = np.array([[1.0, 2.0, 4.0, 0.0], [1.0, 2.0, 0.0, 0.0], [1.0, 2.0, 4.0, 4.0]])
    forward = rates(ratios_forward(lengths))
    np.testing.assert_array_equal(forward.nets, [3, 2, 1])
    np.testing.assert_allclose(forward.judged, [math.log(2), math.log(2)])
    assert math.isnan(forward.log[2])
    assert np.isnan(rates(np.full((3, 2), np.nan)).judged).all()


def test_what_has_exploded_has_no_finite_rate():
    lengths = np.array([[1.0, np.inf, np.inf]] * 3)
    forward = rates(ratios_forward(lengths))
    assert forward.known.all()
    assert not np.isfinite(forward.log).any()


def test_backward_ratios_go_from_the_later_layer_to_the_earlier():
    np.testing.assert_allclose(ratios_backward(np.array([[8.0, 4.0, 1.0]])), [[2.0, 4.0]])


def test_the_spread_is_beta_up_to_a_square_of_reciprocal_widths(random):
    lengths = chain(random, nets=20_000, depth=5, width=20)
    measured = spread(list(lengths.transpose(1, 0, 2)))
    np.testing.assert_allclose(measured, math.log1p(5 / 20) / 5, rtol=0.05)


def test_ratios_that_make_up_for_each_other_do_not_add_up(random):
    noise = random.lognormal(0, 0.5, (10, 41, 4))  # lengths that are normalized anew in every layer
    layers = list(noise.transpose(1, 0, 2))
    assert spread(layers).sum() == pytest.approx(spread_limit(layers))
    assert spread(layers).sum() < 1
    assert spread_limit(list(chain(random, nets=10, depth=100, width=10).transpose(1, 0, 2))[:60]) > 3
