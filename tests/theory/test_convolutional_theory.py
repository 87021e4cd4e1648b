"""The laws of whole convolutional nets, against the closed forms for their architecture."""

import math

import numpy as np
import pytest

from start_training.theory.convolution import (
    log_mean_length_residual_convolutional,
    log_mean_length_zero_padded,
    log_moment_ratio_bound,
)
from start_training.theory.convolutional import ConvolutionalLaw, ResidualConvolutionalLaw
from start_training.theory.mean_length import log_mean_length
from tests.theory.by_hand import LEAKY, LINEAR, RELU

KAPPAS, BIASES, SCALES = np.array([2.0, 0.5, 3.0]), np.array([0.0, 0.3, 0.1]), np.array([1.0, 0.5, 0.8])
UNEVEN = np.random.default_rng(0).exponential(size=(4, 5))


def plain(**settings):
    given = {"kappas": KAPPAS, "bias_variances": np.zeros(3), "kurtosis": np.full(3, 6.0), "padding": "circular"}
    shape = {"channels": np.array([5.0, 8.0, 4.0]), "kernel_size": 3, "profile": UNEVEN, "activation": RELU}
    return ConvolutionalLaw(**shape | given | settings)


def residual(**settings):
    given = {"scales": SCALES, "kappas": KAPPAS, "bias_variances": BIASES, "kernel_size": 3}
    return ResidualConvolutionalLaw(**given | {"padding": "circular", "profile": UNEVEN, "activation": RELU} | settings)


@pytest.mark.parametrize("phi", [RELU, LEAKY])
def test_the_profile_is_scaled_to_the_length_of_the_input(phi):
    profile, common = UNEVEN / UNEVEN.mean() * math.exp(0.7), {"kernel_size": 3, "activation": phi}
    of_law = {"bias_variances": BIASES, "activation": phi}
    expected = log_mean_length(KAPPAS, BIASES, log_input_length=0.7, activation=phi)
    np.testing.assert_allclose(plain(**of_law).log_mean_length(0.7), expected, rtol=1e-12)
    expected = log_mean_length_zero_padded(KAPPAS, BIASES, input_profile=profile, **common)
    np.testing.assert_allclose(plain(padding="zeros", **of_law).log_mean_length(0.7), expected, rtol=1e-12)
    for padding in "circular", "zeros":
        expected = log_mean_length_residual_convolutional(
            SCALES, KAPPAS, BIASES, input_profile=profile, padding=padding, **common
        )
        np.testing.assert_allclose(residual(padding=padding, **of_law).log_mean_length(0.7), expected, rtol=1e-12)


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_dropout_raises_kappa_of_every_layer_except_the_first(padding):
    with_dropout, without = (plain(padding=padding, dropout=dropout).log_mean_length() for dropout in (0.75, 0.0))
    np.testing.assert_allclose(with_dropout - without, np.log(4) * np.arange(3), atol=1e-12)


def test_the_moment_ratio_is_bounded_by_0_and_by_a_net_with_one_unit_per_channel():
    for phi in RELU, LINEAR:
        lower, upper = plain(activation=phi).log_moment_ratio()
        assert (lower == 0).all()
        np.testing.assert_array_equal(upper, log_moment_ratio_bound([5, 8, 4], 6.0, activation=phi))


@pytest.mark.parametrize(
    "settings", [{"padding": "zeros"}, {"bias_variances": BIASES}, {"dropout": 0.1}, {"orthogonal": True}], ids=str
)
def test_there_is_no_bound_for_settings_without_a_derivation(settings):
    assert plain(**settings).log_moment_ratio() is None
    assert residual().log_moment_ratio() is None
    assert not plain().gaussian and not residual().gaussian


@pytest.mark.parametrize("law", [plain, residual])
@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_an_input_of_length_0_has_length_0_until_a_layer_has_biases(law, padding):
    revived = law(padding=padding, bias_variances=np.array([0.0, 0.3, 0.1]))
    np.testing.assert_array_equal(revived.log_mean_length(), revived.log_mean_length(0.0))
    assert np.isneginf(revived.log_mean_length(-math.inf)).tolist() == [True, False, False]
