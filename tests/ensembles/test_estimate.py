"""Tests of the estimators of an ensemble on data of a known law: bias, reported errors, and heavy tails.

"Within 4 standard errors" refers to the standard error of the mean over repetitions of the whole estimate.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem

from start_training.ensembles.estimate import (
    dead_share,
    log_layer_variance,
    log_mean,
    log_mean_by_ratios,
    log_moment_ratio,
    log_moment_ratio_by_ratios,
    log_variance,
)
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected

DEPTH, SPREAD = 3, 0.5  # the log ratio of each layer is normal with mean −0.2 and this standard deviation
MEAN = np.arange(DEPTH + 1) * (-0.2 + SPREAD**2 / 2)
MOMENT_RATIO = np.arange(DEPTH + 1) * SPREAD**2
VARIANCE = np.arange(DEPTH + 1) * SPREAD**2


def lognormal(random, nets):
    """Return log M_0 … log M_d of nets with independent lognormal ratios and M_0 = 7, shape (nets, d + 1)."""
    steps = random.normal(-0.2, SPREAD, (nets, DEPTH))
    return math.log(7) + np.concatenate([np.zeros((nets, 1)), np.cumsum(steps, axis=1)], axis=1)


def chi_square(random, nets, freedom=4):
    """Return log M_0 … log M_d of nets with independent ratios χ²_k / k, whose mean is 1 and mean square 1 + 2/k."""
    steps = np.log(random.chisquare(freedom, (nets, DEPTH)) / freedom)
    return np.concatenate([np.zeros((nets, 1)), np.cumsum(steps, axis=1)], axis=1)


def repeated(estimator, draw, *, nets, repeats):
    """Return the values and errors of repeated estimates, each of shape (repeats, d)."""
    random = np.random.default_rng(0)
    values, errors = zip(*(estimator(draw(random, nets)) for _ in range(repeats)), strict=True)
    return np.array(values)[:, 1:], np.array(errors)[:, 1:]


EXACT = {
    "log_mean_by_ratios": (log_mean_by_ratios, lognormal, MEAN),
    "log_moment_ratio_by_ratios": (log_moment_ratio_by_ratios, lognormal, MOMENT_RATIO),
    "of chi-square": (log_moment_ratio_by_ratios, chi_square, np.arange(DEPTH + 1) * math.log(1.5)),
    "log_variance": (log_variance, lognormal, VARIANCE),
}


@pytest.mark.parametrize("estimator, draw, exact", EXACT.values(), ids=EXACT)
def test_an_estimate_is_unbiased_and_its_error_is_the_spread_over_repeats(estimator, draw, exact):
    values, errors = repeated(estimator, draw, nets=1000, repeats=400)
    spread = values.std(0, ddof=1)
    # A bias far below the reported error is allowed, since the log of a mean has a bias of order 1 / nets.
    assert (np.abs(values.mean(0) - exact[1:]) < 4 * spread / 400**0.5 + 0.15 * spread).all()
    np.testing.assert_allclose(np.median(errors, axis=0), spread, rtol=0.15)
    wrong = exact[1:] + 0.5 * spread
    assert (np.abs(values.mean(0) - wrong) > 4 * spread / 400**0.5 + 0.15 * spread).all()


def deep_logs(nets):
    law = FullyConnected(60, 1, depth=60, width=60).law(VarianceScaling(2.0))
    return sample_gaussian_law(law, nets, generator=np.random.default_rng(0))


def test_estimates_by_ratios_are_correct_for_heavy_tailed_lengths():
    """At width = depth = 60 the relative variance is 121; the sample variance of 1,000 nets is far too small."""
    logs, exact = deep_logs(1000), 60 * math.log1p(5 / 60)
    ratio, mean = log_moment_ratio_by_ratios(logs), log_mean_by_ratios(logs)
    assert abs(ratio.value[-1] - exact) < 4 * ratio.error[-1]
    assert abs(ratio.value[-1] - 60 * math.log1p(4 / 60)) > 4 * ratio.error[-1]
    assert abs(mean.value[-1]) < 4 * mean.error[-1]
    naive = np.array([np.var(np.exp(part[:, -1])) for part in np.split(deep_logs(30_000), 30)])
    assert np.median(naive) < 0.5 * math.expm1(exact)


def test_log_layer_variance_equals_its_definition():
    logs = chi_square(np.random.default_rng(0), 50)
    value, error = log_layer_variance(logs)
    assert np.isnan(value[:2]).all()
    for layers in 2, 3:
        lengths = np.exp(logs[:, 1 : layers + 1])
        plain = np.log(lengths.var(1) / lengths.mean(1) ** 2)
        assert math.isclose(value[layers], plain.mean())
        assert math.isclose(error[layers], plain.std(ddof=1) / 50**0.5)


def test_lengths_that_differ_only_by_rounding_have_no_layer_variance():
    random = np.random.default_rng(0)
    same = np.repeat(random.uniform(-300, 300, size=(200, 1)), 100, axis=1)
    assert np.isnan(log_layer_variance(same).value).all()
    beside = np.nextafter(same, np.where(random.random(same.shape) < 0.5, -1e3, 1e3))
    assert np.isnan(log_layer_variance(beside).value).all()
    differ = same + 1e-3 * np.arange(100)  # the control
    np.testing.assert_allclose(log_layer_variance(differ).value[2], np.log(0.25e-6), rtol=1e-3)


def test_estimates_of_moments_equal_their_definitions():
    logs = lognormal(np.random.default_rng(0), 50)
    relative = np.exp(logs - logs[:, :1])
    np.testing.assert_allclose(log_mean(logs).value, np.log(relative.mean(0)), atol=1e-12)
    np.testing.assert_allclose(log_mean(logs).error, sem(relative) / relative.mean(0))
    second = np.log((relative**2).mean(0) / relative.mean(0) ** 2)
    np.testing.assert_allclose(log_moment_ratio(logs).value, second, atol=1e-12)
    ratios = relative[:, 1:] / relative[:, :-1]
    low = (sem(ratios) / ratios.mean(0)) ** 2  # half of it is the bias of the log of a mean
    value, error = log_mean_by_ratios(logs)
    np.testing.assert_allclose(value[1:], np.cumsum(np.log(ratios.mean(0)) + low / 2))
    np.testing.assert_allclose(error[1:], np.sqrt(np.cumsum(low)))
    np.testing.assert_allclose(log_variance(logs).value, logs.var(0, ddof=1), atol=1e-12)
    fourth = ((logs - logs.mean(0)) ** 2).std(0) / 50**0.5
    np.testing.assert_allclose(log_variance(logs).error, fourth, atol=1e-12)


def dying(random, nets):
    """Return lengths of nets of which a third of the living ones dies in each layer."""
    logs = chi_square(random, nets)
    dead = np.logical_or.accumulate(random.random((nets, DEPTH)) < 1 / 3, axis=1)
    logs[:, 1:][dead] = -np.inf
    return logs


def test_dead_nets_are_included_in_means_and_excluded_from_the_log_variance():
    logs = dying(np.random.default_rng(0), 20_000)
    alive = np.arange(DEPTH + 1) * math.log(2 / 3)
    for estimator, exact in (
        (log_mean_by_ratios, alive),
        (log_mean, alive),
        (log_moment_ratio_by_ratios, np.arange(DEPTH + 1) * math.log(1.5) - alive),
        (log_moment_ratio, np.arange(DEPTH + 1) * math.log(1.5) - alive),
    ):
        value, error = estimator(logs)
        assert (np.abs(value - exact)[1:] < 4 * error[1:]).all()
        assert (np.abs(value)[1:] > 4 * error[1:]).all()
    np.testing.assert_allclose(dead_share(logs), 1 - np.exp(alive), atol=4 * 0.5 / 20_000**0.5)
    value, error = log_variance(logs)
    living = chi_square(np.random.default_rng(1), 20_000).var(0)
    assert (np.abs(value - living)[1:] < 4 * 2**0.5 * error[1:]).all()


ESTIMATORS = (
    log_mean,
    log_mean_by_ratios,
    log_moment_ratio,
    log_moment_ratio_by_ratios,
    log_variance,
    log_layer_variance,
)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
def test_dead_layers_and_a_single_net_cause_no_warning(estimator):
    for dead_from in 1, 2, 3:
        logs = chi_square(np.random.default_rng(0), 50)
        logs[:, dead_from:] = -np.inf
        value, error = estimator(logs)
        assert value.shape == error.shape == (DEPTH + 1,)
        living = estimator(logs[:, : max(dead_from, 2)])
        np.testing.assert_allclose(value[:dead_from], living.value[:dead_from], rtol=1e-12)
    value, error = estimator(chi_square(np.random.default_rng(0), 1))
    assert value.shape == (DEPTH + 1,) and not (error[1:] > 0).any()


@given(st.integers(0, 2**32))
def test_estimates_do_not_depend_on_the_order_of_nets_nor_on_the_length_of_the_input(seed):
    random = np.random.default_rng(seed)
    logs = dying(random, 30)
    for estimator in ESTIMATORS:
        for other in (logs[random.permutation(30)], logs + random.uniform(-1000, 1000)):
            np.testing.assert_allclose(estimator(other), estimator(logs), atol=1e-9)
