"""Mean and variance of log M in narrow Gaussian ReLU nets, some of which die, measured and predicted."""

import math
from functools import partial

import numpy as np
import pytest

from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.theory.log_length import log_length, log_survival
from tests.laws.sampled import sample_logs

NETS, WIDTHS, KAPPA = 20_000, [10, 6, 8, 10, 5, 10, 10, 4, 10, 10], 1.5


@pytest.fixture(scope="module")
def logs():
    """log(M_j / M_0) of every net, shape (nets, d); −inf if a net is dead."""
    build = partial(FullyConnected, 10, 2, widths=WIDTHS)
    return sample_logs(build, VarianceScaling(KAPPA), nets=NETS, size=10)[:, 1:]


def test_the_mean_and_variance_of_log_lengths_of_living_nets_are_predicted(logs, sigmas):
    law, shrinking = log_length(WIDTHS, KAPPA), math.log(KAPPA / 2) * np.arange(1, len(WIDTHS) + 1)
    shares = 5 * np.cumsum(1 / np.array(WIDTHS))
    for layer, values in enumerate(layer[np.isfinite(layer)] for layer in logs.T):
        assert sigmas(values, law.mean[layer]) < 4
        assert sigmas(values, shrinking[layer]) > 4  # the mean of log M is not the log of the mean
        assert sigmas(values, shrinking[layer] - shares[layer] / 2) > 4  # the limit of wide layers
        squares = (values - values.mean()) ** 2 * len(values) / (len(values) - 1)
        assert sigmas(squares, law.variance[layer]) < 4
        assert sigmas(squares, shares[layer]) > 4


def test_the_share_of_living_nets_is_predicted(logs, sigmas):
    alive = np.isfinite(logs)
    assert (sigmas(alive, np.exp(log_survival(WIDTHS))) < 4).all()
    for wrong in 1, -1:  # as if layers had a unit more, or one less
        assert (sigmas(alive, np.exp(log_survival(np.array(WIDTHS) + wrong)))[1:] > 4).all()
    assert (alive[:, 1:] <= alive[:, :-1]).all()  # a dead layer stays dead
