"""What theory says of a whole convolutional net, against dense nets and sums over every position."""

import math

import numpy as np
import pytest

from src.theory.activation import LINEAR, RELU, Homogeneous
from src.theory.convolution import (
    log_mean_length_residual_convolutional,
    log_mean_length_zero_padded,
    log_moment_ratio_bound,
)
from src.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw
from src.theory.mean_length import log_mean_length, log_mean_length_residual

KAPPAS, BIASES = np.array([2.0, 0.5, 3.0]), np.array([0.0, 0.3, 0.1])
SCALES = [1.0, 0.5, 0.8]


def plain(**settings):
    given = {"kappas": KAPPAS, "bias_variances": np.zeros(3), "kurtosis": np.full(3, 3.0), "padding": "circular"}
    shape = {"channels": np.array([5.0, 8.0, 4.0]), "kernel_size": 3, "profile": np.ones((4, 5)), "activation": RELU}
    return ConvolutionalLaw(**shape | given | settings)


def residual(**settings):
    given = {"scales": np.array(SCALES), "kappas": KAPPAS, "bias_variances": BIASES, "kernel_size": 3}
    return ResidualConvolutionalLaw(
        **given | {"padding": "circular", "profile": np.ones((4, 5)), "activation": RELU} | settings
    )


@pytest.fixture
def uneven():
    return np.random.default_rng(0).exponential(size=(4, 5))


def test_circular_padding_makes_a_dense_net_whatever_the_image(uneven):
    expected = log_mean_length(KAPPAS, BIASES, log_input_length=0.7)
    np.testing.assert_allclose(plain(bias_variances=BIASES, profile=uneven).log_mean_length(0.7), expected, rtol=1e-12)


def test_zero_padding_starts_from_the_profile_at_the_inputs_length(uneven):
    law = plain(padding="zeros", bias_variances=BIASES, profile=uneven)
    profile = uneven / uneven.mean() * math.exp(0.7)
    expected = log_mean_length_zero_padded(KAPPAS, BIASES, kernel_size=3, input_profile=profile)
    np.testing.assert_allclose(law.log_mean_length(0.7), expected, rtol=1e-12)
    assert (law.log_mean_length(0.7) != plain(padding="zeros", bias_variances=BIASES).log_mean_length(0.7)).all()


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_dropout_feeds_more_to_every_layer_but_the_first(padding):
    with_dropout, without = (plain(padding=padding, dropout=dropout).log_mean_length() for dropout in (0.5, 0.0))
    np.testing.assert_allclose(with_dropout - without, np.log(2) * np.arange(3), atol=1e-12)


def test_a_moment_ratio_lies_between_none_and_that_of_a_unit_for_each_channel():
    lower, upper = plain().log_moment_ratio()
    assert (lower == 0).all()
    np.testing.assert_allclose(upper, np.log(np.cumprod([1 + 5 / 5, 1 + 5 / 8, 1 + 5 / 4])))


@pytest.mark.parametrize(
    "kurtosis, activation, excess", [(3.0, RELU, 5), (1.8, RELU, 5), (6.0, RELU, 11), (3.0, LINEAR, 2)]
)
def test_lighter_tails_than_normal_are_bounded_by_normal(kurtosis, activation, excess):
    bound = log_moment_ratio_bound([10, 10], kurtosis, activation=activation)
    np.testing.assert_allclose(bound, np.log1p(excess / 10) * np.arange(1, 3))


@pytest.mark.parametrize(
    "settings", [{"padding": "zeros"}, {"bias_variances": BIASES}, {"dropout": 0.1}, {"orthogonal": True}], ids=str
)
def test_no_bound_is_claimed_that_is_not_derived(settings):
    assert plain(**settings).log_moment_ratio() is None
    assert residual().log_moment_ratio() is None


def test_neither_law_is_explicit_in_full():
    assert not plain().gaussian
    assert not residual().gaussian


@pytest.mark.parametrize("activation", [RELU, LINEAR, Homogeneous(0.3)])
def test_residual_layers_of_an_even_image_are_dense_modules(activation):
    expected = [
        log_mean_length_residual(SCALES, [kappa], log_input_length=0.7, activation=activation, ending=activation)
        for kappa in (2.0, 0.5)
    ]
    for kappa, dense in zip((2.0, 0.5), expected, strict=True):
        law = residual(kappas=np.full(3, kappa), bias_variances=np.zeros(3), activation=activation)
        np.testing.assert_allclose(law.log_mean_length(0.7), dense, rtol=1e-12)


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("activation", [RELU, LINEAR])
def test_residual_layers_follow_each_position(uneven, wrap, activation):
    e, m, expected = uneven.copy(), np.zeros_like(uneven), []
    for eta, kappa, bias in zip(SCALES, KAPPAS, BIASES, strict=True):
        z = np.full_like(e, bias)
        for place in np.ndindex(e.shape):
            for offset in np.ndindex(3, 3):
                source = tuple(p + o - 1 for p, o in zip(place, offset, strict=True))
                if wrap:
                    z[place] += kappa / 9 * e[tuple(s % n for s, n in zip(source, e.shape, strict=True))]
                elif all(0 <= s < n for s, n in zip(source, e.shape, strict=True)):
                    z[place] += kappa / 9 * e[source]
        push = eta * activation.mean * np.sqrt(z)
        e, m = e + eta**2 * activation.second * z + 2 * m * push, m + push
        expected.append(e.mean())
    predicted = log_mean_length_residual_convolutional(
        SCALES, KAPPAS, BIASES, kernel_size=3, input_profile=uneven,
        padding="circular" if wrap else "zeros", activation=activation,
    )  # fmt: skip
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-12)


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_no_depth_overflows(padding):
    deep = {"scales": np.ones(3000), "kappas": np.full(3000, 4.0), "bias_variances": np.full(3000, 0.1)}
    lengths = residual(padding=padding, **deep).log_mean_length(-300.0)
    assert np.isfinite(lengths).all()
    assert lengths[-1] > 1500


@pytest.mark.parametrize("law", [plain, residual])
@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_a_dead_input_stays_dead_without_biases(law, padding):
    dead = law(padding=padding, bias_variances=np.zeros(3))
    assert (dead.log_mean_length(-math.inf) == -math.inf).all()
    revived = law(padding=padding, bias_variances=np.array([0.0, 0.3, 0.1]))
    assert np.isneginf(revived.log_mean_length(-math.inf)).tolist() == [True, False, False]
