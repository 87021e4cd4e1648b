"""The law of log M in narrow Gaussian ReLU nets, of which some die: measured and predicted."""

import math

import numpy as np
import pytest
import torch

from src.initializers.variance_scaling import VarianceScaling
from src.lengths.activation_length import activation_lengths
from src.theory.log_length import log_length, log_survival

NETS, WIDTHS, KAPPA = 20_000, [10, 6, 8, 10, 5, 10, 10, 4, 10, 10], 1.5


@pytest.fixture(scope="module")
def logs():
    """log(M_j / M_0) of every net, (nets, d): −inf where it is dead."""
    generator, initializer = torch.Generator().manual_seed(0), VarianceScaling(KAPPA)
    x = torch.randn(10, generator=generator)
    x, lengths = (x / x.square().mean().sqrt()).expand(NETS, -1)[:, :, None], []
    for width in WIDTHS:
        weights = torch.empty(NETS, width, x.shape[1])
        initializer.fill_many_(weights, generator)
        x = torch.bmm(weights, x).relu()
        lengths.append(activation_lengths(x))
    return torch.stack(lengths, 1).log().numpy()


def living(logs):
    return [layer[np.isfinite(layer)] for layer in logs.T]


def test_the_mean_of_living_nets(logs, sigmas):
    law, shrinking = log_length(WIDTHS, KAPPA), math.log(KAPPA / 2) * np.arange(1, len(WIDTHS) + 1)
    wide_limit = shrinking - 2.5 * np.cumsum(1 / np.array(WIDTHS))
    for layer, values in enumerate(living(logs)):
        assert sigmas(values, law.mean[layer]) < 4
        assert sigmas(values, shrinking[layer]) > 4  # the mean of log M is not the log of the mean
        assert sigmas(values, wide_limit[layer]) > 4


def test_the_variance_of_living_nets(logs, sigmas):
    law = log_length(WIDTHS, KAPPA)
    for layer, values in enumerate(living(logs)):
        squares = (values - values.mean()) ** 2 * len(values) / (len(values) - 1)
        assert sigmas(squares, law.variance[layer]) < 4
        assert sigmas(squares, 5 * np.sum(1 / np.array(WIDTHS[: layer + 1]))) > 4  # the limit of wide layers


def test_the_share_of_living_nets(logs, sigmas):
    alive = np.isfinite(logs)
    assert (sigmas(alive, np.exp(log_survival(WIDTHS))) < 4).all()
    for wrong in 1, -1:  # as if layers had a unit more, or one less
        assert (sigmas(alive, np.exp(log_survival(np.array(WIDTHS) + wrong)))[1:] > 4).all()


def test_every_dead_layer_stays_dead(logs):
    dead = np.isneginf(logs)
    assert (dead[:, 1:] >= dead[:, :-1]).all()
    assert 0 < dead[:, -1].mean() < 1
