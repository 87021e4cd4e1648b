"""The mean length of convolutional nets, circular and zero-padded: measured over many nets, and predicted."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, pad

from src.initializers.initializer import Fans
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import VarianceScaling
from src.lengths.activation_length import activation_lengths
from src.theory.convolution import log_mean_length_convolutional, log_mean_length_zero_padded

NETS, CHANNELS, IMAGE, KERNEL = 1000, [3, 12, 12, 12], (5, 4), 3
FANS = [Fans(a * KERNEL**2, b * KERNEL**2, KERNEL**2) for a, b in pairwise(CHANNELS)]
HE, UNIFORM = VarianceScaling(2.0), VarianceScaling(1.0, distribution="uniform")


@pytest.fixture
def image(generator):
    """One image of M_0 = 1, brightest in a corner: (channels, height, width)."""
    pixels = torch.randn(CHANNELS[0], *IMAGE, generator=generator)
    pixels[:, 0, 0] *= 8
    return pixels / pixels.square().mean().sqrt()


def sample(initializer, image, mode, generator):
    """M_1 … M_d, (nets, d), of one image: nets side by side, as the groups of one convolution."""
    x, lengths = image.repeat(NETS, 1, 1)[None], []
    for fans in FANS:
        channels = fans.fan_out // fans.kernel
        weights = torch.empty(NETS, channels, fans.fan_in // fans.kernel, KERNEL, KERNEL)
        biases = torch.empty(NETS, channels)
        initializer.fill_many_(weights, generator)
        initializer.fill_bias_(biases, fans, generator)
        padded = pad(x, [KERNEL // 2] * 4, mode=mode)
        x = conv2d(padded, weights.flatten(0, 1), biases.flatten(), groups=NETS).relu()
        lengths.append(activation_lengths(x.reshape(NETS, -1)))
    return torch.stack(lengths, 1).numpy()


def predictions(initializer, image):
    """log E[M_j] with circular padding, and with zeros."""
    law = initializer.kappas(FANS), initializer.bias_variances(FANS)
    circular, _ = log_mean_length_convolutional(*law, kernel_size=KERNEL, image=IMAGE)
    profile = image.square().mean(0).numpy()
    return circular, log_mean_length_zero_padded(*law, kernel_size=KERNEL, input_profile=profile)


@pytest.mark.parametrize("initializer", [HE, UNIFORM, TorchDefault()], ids=str)
def test_circular_padding_keeps_the_law_of_dense_layers(initializer, image, generator, sigmas):
    lengths = sample(initializer, image, "circular", generator)
    circular, zeros = predictions(initializer, image)
    assert (sigmas(lengths, np.exp(circular)) < 4).all()
    assert (sigmas(lengths, np.exp(zeros)) > 4).all()


@pytest.mark.parametrize("initializer", [HE, UNIFORM, TorchDefault()], ids=str)
def test_zero_padding_loses_what_the_profile_says(initializer, image, generator, sigmas):
    lengths = sample(initializer, image, "constant", generator)
    circular, zeros = predictions(initializer, image)
    assert (sigmas(lengths, np.exp(zeros)) < 4).all()
    assert (sigmas(lengths, np.exp(circular)) > 4).all()


def test_it_matters_where_an_image_is_bright(image, generator, sigmas):
    lengths = sample(HE, image, "constant", generator)
    flat = log_mean_length_zero_padded(HE.kappas(FANS), kernel_size=KERNEL, input_profile=np.ones(IMAGE))
    assert (sigmas(lengths, np.exp(flat)) > 4).all()


def test_zero_padding_stays_within_its_bounds(image, generator, sigmas):
    lengths = sample(HE, image, "constant", generator)
    lower, upper = log_mean_length_convolutional(
        HE.kappas(FANS), kernel_size=KERNEL, image=IMAGE, padding="zeros", log_input_length=math.log(1)
    )
    assert (np.exp(lower) < lengths.mean(0)).all()
    assert (lengths.mean(0) < np.exp(upper)).all()
    assert (sigmas(lengths, np.exp(lower)) > 4).all()
    assert (sigmas(lengths, np.exp(upper)) > 4).all()
