"""Mean lengths of plain and residual convolutional nets, against explicit sums over the kernel."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve

from start_training.theory.convolution import (
    log_mean_length_residual_convolutional,
    log_mean_length_zero_padded,
    log_moment_ratio_bound,
)
from start_training.theory.mean_length import log_mean_length
from tests.theory.by_hand import LEAKY, LINEAR, RELU

KAPPAS, BIASES, SCALES = [2.0, 0.5, 3.0, 1.1], [0.0, 0.3, 0.0, 0.7], [1.0, 0.5, 0.8, 0.3]
SHAPES = [(4, 5), (7,), (1, 3), (3, 4, 2)]
EXACT = {"rtol": 1e-11, "atol": 1e-13}


def read(profile, kernel_size, padding):
    kernel = np.full([kernel_size] * profile.ndim, float(kernel_size) ** -profile.ndim)
    return convolve(profile, kernel, mode="wrap" if padding == "circular" else "constant")


def lengths_by_sums(profile, kernel_size, padding, phi=RELU, scales=None):
    """Compute the mean length of each layer without logs, or of each residual module if scales are given."""
    skew, lengths = 0 * profile, []
    for layer, (kappa, bias) in enumerate(zip(KAPPAS, BIASES, strict=True)):
        z = kappa * read(profile, kernel_size, padding) + bias
        if scales is None:
            profile = phi.second * z
        else:
            push = scales[layer] * phi.mean * np.sqrt(z)
            profile = profile + scales[layer] ** 2 * phi.second * z + 2 * skew * push
            skew = skew + push
        lengths.append(profile.mean())
    return lengths


def profile_of(shape):
    return np.random.default_rng(0).exponential(size=shape)


@given(st.sampled_from(SHAPES), st.sampled_from([1, 3, 5]), st.sampled_from([RELU, LINEAR, LEAKY]))
def test_mean_lengths_agree_with_explicit_sums_over_the_kernel(shape, kernel_size, phi):
    profile, law = profile_of(shape), (KAPPAS, BIASES)
    settings = {"kernel_size": kernel_size, "activation": phi}
    for padding in "circular", "zeros":
        of_residual = log_mean_length_residual_convolutional(
            SCALES, *law, input_profile=profile, padding=padding, **settings
        )
        expected = lengths_by_sums(profile, kernel_size, padding, phi, SCALES)
        np.testing.assert_allclose(np.exp(of_residual), expected, **EXACT)
    zeros = log_mean_length_zero_padded(*law, input_profile=profile, **settings)
    np.testing.assert_allclose(np.exp(zeros), lengths_by_sums(profile, kernel_size, "zeros", phi), **EXACT)
    circular = log_mean_length(*law, log_input_length=math.log(profile.mean()), activation=phi)
    np.testing.assert_allclose(np.exp(circular), lengths_by_sums(profile, kernel_size, "circular", phi), **EXACT)


@given(st.sampled_from(SHAPES), st.sampled_from([3, 5, 7]), st.sampled_from(["random", "corner", "middle"]))
def test_mean_length_with_zero_padding_lies_between_bounds(shape, kernel_size, kind):
    profile = profile_of(shape)
    if kind != "random":
        place = tuple(0 if kind == "corner" else size // 2 for size in shape)
        profile = np.zeros(shape)
        profile[place] = 1
    share = math.prod(min(size, kernel_size // 2 + 1) / kernel_size for size in shape)  # what a corner feeds
    lower, upper = (
        log_mean_length(np.array(KAPPAS) * factor, BIASES, log_input_length=math.log(profile.mean()))
        for factor in (share, 1)
    )
    exact = log_mean_length_zero_padded(KAPPAS, BIASES, kernel_size=kernel_size, input_profile=profile)
    assert ((lower - 1e-12 <= exact) & (exact <= upper + 1e-12) & (lower < upper)).all()


@pytest.mark.parametrize("image, kernel_size, share", [((8, 8), 3, 4 / 9), ((8, 8, 8), 3, 8 / 27), ((2,), 5, 2 / 5)])
def test_an_input_in_a_corner_loses_the_largest_share_to_zero_padding(image, kernel_size, share):
    corner = np.zeros(image)
    corner[(0,) * len(image)] = corner.size
    exact = log_mean_length_zero_padded(2.0, kernel_size=kernel_size, input_profile=corner)
    np.testing.assert_allclose(np.exp(exact), share, rtol=1e-12)


@pytest.mark.parametrize("kappa, bias", [(4.0, 0.0), (0.3, 0.0), (4.0, 0.2), (0.3, 0.2)])
def test_deep_nets_do_not_overflow(kappa, bias):
    exact = log_mean_length_zero_padded([kappa] * 1000, bias, kernel_size=3, input_profile=np.ones((6, 6)))
    eigenvalue = ((1 + 2 * math.cos(math.pi / 7)) / 3) ** 2  # the greatest of the 3-banded matrix of size 6, squared
    growth = 0 if kappa < 2 and bias else math.log(eigenvalue * kappa / 2)
    assert exact[-1] - exact[-2] == pytest.approx(growth, abs=1e-9)
    for padding in "circular", "zeros":
        residual = log_mean_length_residual_convolutional(
            np.ones(700), [kappa] * 700, bias, kernel_size=3, input_profile=np.full(6, 1e-130), padding=padding
        )
        rates = np.diff(residual)
        assert math.log1p(kappa / 4) < rates[-1] == pytest.approx(rates[-100], rel=1e-2)


def test_biases_give_vanished_and_zero_activations_a_length():
    kappas, biases = [0.3] * 1001, [0.0] * 1000 + [0.5]
    faded = log_mean_length_zero_padded(kappas, biases, kernel_size=3, input_profile=np.ones(4))
    assert faded[-2] < -1500
    assert math.exp(faded[-1]) == pytest.approx(0.25, rel=1e-12)
    dead = {"kernel_size": 3, "input_profile": np.zeros((3, 3))}
    np.testing.assert_allclose(
        log_mean_length_zero_padded([2.0] * 3, [0.0, 0.5, 0.0], **dead)[:2], [-math.inf, math.log(0.25)]
    )
    revived = log_mean_length_residual_convolutional([1.0, 0.5], [2.0] * 2, [0.0, 0.5], **dead)
    np.testing.assert_allclose(revived, [-math.inf, math.log(0.0625)])


def test_kurtosis_below_3_has_the_bound_of_normal_weights():
    for kurtosis, phi, excess in (3.0, RELU, 5), (1.8, RELU, 5), (6.0, RELU, 11), (3.0, LINEAR, 2):
        bound = log_moment_ratio_bound([10, 5], kurtosis, activation=phi)
        np.testing.assert_allclose(bound, np.cumsum(np.log1p([excess / 10, excess / 5])))


def test_impossible_settings_are_errors():
    mistakes = {"kernel_size": 4, "padding": "same", "kappas": [0.0], "bias_variances": -1.0}
    for name, value in (*mistakes.items(), ("kernel_size", 0)):
        settings = {"kappas": [2.0], "kernel_size": 3} | {name: value}
        with pytest.raises(ValueError, match=f"^{name} = .*must"):
            log_mean_length_residual_convolutional([1.0], **settings, input_profile=np.ones((4, 4)))
