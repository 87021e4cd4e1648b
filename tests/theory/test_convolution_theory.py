"""Lengths of convolutional nets, against the sum over every weight of a small one written out."""

import itertools
import math

import numpy as np
import pytest

from src.theory.activation import LINEAR, RELU, Homogeneous
from src.theory.convolution import log_mean_length_convolutional, log_mean_length_zero_padded
from src.theory.mean_length import log_mean_length

KAPPAS, BIASES = [2.0, 0.5, 3.0, 1.1], [0.0, 0.3, 0.0, 0.7]


def lengths_by_sums(profile, kernel_size, *, wrap, kappas=KAPPAS, biases=BIASES, second=0.5):
    """Mean lengths of each layer, position by position and offset by offset."""
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    kernel, lengths = kernel_size**profile.ndim, []
    for kappa, bias in zip(kappas, biases, strict=True):
        new = np.zeros_like(profile)
        for place in np.ndindex(profile.shape):
            for offset in itertools.product(reach, repeat=profile.ndim):
                source = tuple(p + o for p, o in zip(place, offset, strict=True))
                if wrap:
                    source = tuple(s % size for s, size in zip(source, profile.shape, strict=True))
                if all(0 <= s < size for s, size in zip(source, profile.shape, strict=True)):
                    new[place] += kappa / kernel * profile[source]
        profile = second * (new + bias)
        lengths.append(profile.mean())
    return lengths


@pytest.fixture(params=[(4, 5), (7,), (1, 3), (3, 4, 2)], ids=str)
def profile(request):
    return np.random.default_rng(0).exponential(size=request.param)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("activation", [RELU, LINEAR, Homogeneous(0.3)])
def test_the_zero_padded_profile_is_the_sum_over_the_kernel(profile, kernel_size, activation):
    predicted = log_mean_length_zero_padded(
        KAPPAS, BIASES, kernel_size=kernel_size, input_profile=profile, activation=activation
    )
    expected = lengths_by_sums(profile, kernel_size, wrap=False, second=activation.second)
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-12)
    if kernel_size > 1:
        wrapped = lengths_by_sums(profile, kernel_size, wrap=True, second=activation.second)
        assert not np.isclose(np.exp(predicted), wrapped, rtol=1e-2).any()


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_circular_padding_makes_a_convolution_a_dense_layer(profile, kernel_size):
    lower, upper = log_mean_length_convolutional(
        KAPPAS, BIASES, kernel_size=kernel_size, image=profile.shape, log_input_length=math.log(profile.mean())
    )
    np.testing.assert_array_equal(lower, upper)
    np.testing.assert_array_equal(lower, log_mean_length(KAPPAS, BIASES, log_input_length=math.log(profile.mean())))
    np.testing.assert_allclose(np.exp(lower), lengths_by_sums(profile, kernel_size, wrap=True), rtol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("concentrated", ["random", "corner", "middle"])
def test_zero_padding_lies_between_its_bounds(profile, kernel_size, concentrated):
    if concentrated != "random":
        place = tuple(0 if concentrated == "corner" else size // 2 for size in profile.shape)
        profile = np.zeros_like(profile)
        profile[place] = 1
    lower, upper = log_mean_length_convolutional(
        KAPPAS,
        BIASES,
        kernel_size=kernel_size,
        image=profile.shape,
        padding="zeros",
        log_input_length=math.log(profile.mean()),
    )
    exact = log_mean_length_zero_padded(KAPPAS, BIASES, kernel_size=kernel_size, input_profile=profile)
    assert (lower - 1e-12 <= exact).all()
    assert (exact <= upper + 1e-12).all()
    assert (lower < upper).all()


@pytest.mark.parametrize("image, kernel_size, share", [((8, 8), 3, 4 / 9), ((8, 8, 8), 3, 8 / 27), ((2,), 5, 2 / 5)])
def test_a_corner_feeds_the_least_share_of_outputs(image, kernel_size, share):
    corner = np.zeros(image)
    corner[(0,) * len(image)] = corner.size
    lower, _ = log_mean_length_convolutional(2.0, kernel_size=kernel_size, image=image, padding="zeros")
    exact = log_mean_length_zero_padded(2.0, kernel_size=kernel_size, input_profile=corner)
    assert math.exp(lower[0]) == pytest.approx(share, rel=1e-12)
    assert math.exp(exact[0]) == pytest.approx(share, rel=1e-12)


def test_the_middle_of_an_image_loses_nothing_in_a_layer():
    middle = np.zeros((5, 5))
    middle[2, 2] = middle.size
    exact = log_mean_length_zero_padded([2.0, 2.0, 2.0], kernel_size=3, input_profile=middle)
    np.testing.assert_allclose(exact[:2], 0, atol=1e-14)
    assert exact[2] < -0.1


def test_a_large_image_loses_little_to_its_border():
    exact = log_mean_length_zero_padded([2.0] * 3, kernel_size=3, input_profile=np.ones((100, 100)))
    assert (exact > -0.06).all()
    assert exact[0] == pytest.approx(2 * math.log1p(-2 / 300), rel=1e-12)


@pytest.mark.parametrize("kappa", [4.0, 0.3])
@pytest.mark.parametrize("bias", [0.0, 0.2])
def test_no_depth_overflows(kappa, bias):
    settings = {"kernel_size": 3, "input_profile": np.ones((6, 6))}
    exact = log_mean_length_zero_padded([kappa] * 2000, bias, **settings)
    assert np.isfinite(exact).all()
    late = exact[-1] - exact[-2]
    eigenvalue = ((1 + 2 * math.cos(math.pi / 7)) / 3) ** 2  # the greatest of the 3-banded matrix of size 6, squared
    assert late == pytest.approx(0 if kappa < 2 and bias else math.log(eigenvalue * kappa / 2), abs=1e-9)


def test_biases_revive_what_has_faded_beyond_float64():
    kappas, biases = [0.3] * 1001, [0.0] * 1000 + [0.5]
    exact = log_mean_length_zero_padded(kappas, biases, kernel_size=3, input_profile=np.ones(4))
    assert exact[-2] < -1500
    assert math.exp(exact[-1]) == pytest.approx(0.25, rel=1e-12)


def test_a_dead_input_stays_dead_without_biases():
    dead = {"kernel_size": 3, "input_profile": np.zeros((3, 3))}
    assert (log_mean_length_zero_padded([2.0] * 3, **dead) == -math.inf).all()
    revived = log_mean_length_zero_padded([2.0] * 2, [0.0, 0.5], **dead)
    np.testing.assert_allclose(revived, [-math.inf, math.log(0.25)])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kernel_size": 4}, r"^kernel_size = 4: must be odd"),
        ({"kernel_size": 0}, r"^kernel_size = 0: must be a whole number"),
        ({"kernel_size": 3, "padding": "same"}, r"^padding = 'same': must be one of circular, zeros"),
        ({"kernel_size": 3, "kappas": [0.0]}, r"^kappas = \[0\.0\]: a weight variance must be positive"),
        ({"kernel_size": 3, "bias_variances": -1.0}, r"^bias_variances = .*: a variance must not be negative"),
    ],
)
def test_impossible_settings_are_mistakes(settings, message):
    with pytest.raises(ValueError, match=message):
        log_mean_length_convolutional(**{"kappas": [2.0], "image": (4, 4), **settings})
    if "padding" not in settings:
        with pytest.raises(ValueError, match=message):
            log_mean_length_zero_padded(**{"kappas": [2.0], "input_profile": np.ones((4, 4)), **settings})
