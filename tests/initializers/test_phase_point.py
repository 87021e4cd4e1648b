"""Weights of layers with given coordinates in the phase diagram."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from start_training.initializers.initialize import initialize_
from start_training.initializers.initializer import Fans
from start_training.initializers.phase_point import PhasePoint
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.law import law_of
from start_training.models.residual import Residual

NETS = {
    "fully connected": FullyConnected(6, 3, depth=2, width=5),
    "residual": Residual(6, 3, modules=2, width=5),
    "convolutional": Convolutional((1, 8, 8), 3, depth=2, channels=4),
}


@pytest.mark.parametrize(
    "layer, J0, J",
    [(nn.Linear(60, 90), 1.5, 1.0), (nn.Conv2d(6, 30, 3), -0.7, 2.0), (nn.Linear(60, 60), 2, 1)],
    ids=str,
)
def test_weights_have_the_mean_and_variance_of_J0_and_J(layer, J0, J, generator, sigmas):
    one, many, fan_in = PhasePoint(J0, J), torch.empty(100, *layer.weight.shape), layer.weight[0].numel()
    one_by_one = []
    for _ in range(100):
        initialize_(layer, one, generator=generator)
        one_by_one.append(layer.weight.detach().clone())
    one.fill_many_(many, generator)
    assert not layer.bias.any()
    for weights in np.stack(one_by_one), many.numpy():
        weights = weights.reshape(100, -1).astype(float)
        means, variances = fan_in * weights.mean(1), fan_in * weights.var(1, ddof=1)
        assert sigmas(means, J0) < 4
        assert sigmas(variances, J**2) < 4
        assert sigmas(means, J0 + 0.2 * J) > 4
        assert sigmas(variances, 1.05 * J**2) > 4
    assert one.kappa(Fans.of(layer.weight)) == J**2


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_laws_exist_only_for_symmetric_weights(net):
    assert law_of(net, PhasePoint(0.0, 1.0)) is not None
    assert law_of(net, PhasePoint(0.1, 1.0)) is None


def test_the_default_is_that_of_the_paper():
    assert repr(PhasePoint()) == "PhasePoint(J0=0, J=0.5)"


@pytest.mark.parametrize("name, value", [("J", 0), ("J", -0.5), ("J0", math.inf), ("J0", "1"), ("J0", True)])
def test_impossible_J0_and_J_are_errors(name, value):
    with pytest.raises(ValueError, match=f"^{name} = {value!r}: must be a (finite )?number"):
        PhasePoint(**{name: value})
