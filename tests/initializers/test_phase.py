"""Weights by the place of their layer in the phase diagram."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from src.initializers.initialize import initialize_
from src.initializers.phase import Phase
from src.models.convolutional import Convolutional
from src.models.fully_connected import FullyConnected
from src.models.law import law_of
from src.models.residual import Residual
from src.order_chaos.phase import layer_phase

LAYERS = {"square": nn.Linear(60, 60), "rectangular": nn.Linear(60, 90), "convolution": nn.Conv2d(6, 30, 3)}
NETS = {
    "fully connected": FullyConnected(6, 3, depth=2, width=5),
    "residual": Residual(6, 3, modules=2, width=5),
    "convolutional": Convolutional((1, 8, 8), 3, depth=2, channels=4),
}


@pytest.mark.parametrize("J0, J", [(0.0, 0.5), (1.5, 1.0), (-0.7, 2.0), (2, 1)])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_layer_is_where_it_was_put(layer, J0, J, generator, sigmas):
    phases = []
    for _ in range(100):
        initialize_(layer, Phase(J0, J), generator=generator)
        phases.append(layer_phase(layer.weight))
    assert not layer.bias.any()
    means, variances = np.array([phase.J0 for phase in phases]), np.array([phase.J2 for phase in phases])
    shrunk = 1 - 1 / layer.weight.numel()  # the variance of a sample about its own mean
    assert sigmas(means, J0) < 4
    assert sigmas(variances, J**2 * shrunk) < 4
    assert sigmas(means, J0 + 0.2 * J) > 4
    assert sigmas(variances, 1.05 * J**2) > 4


@pytest.mark.parametrize("shape", [(7, 12, 9), (50, 8, 6, 3, 3)], ids=["dense", "convolution"])
def test_many_layers_at_once_have_the_law_of_one(shape, generator):
    weights = torch.empty(shape)
    Phase(3.0, 1e-6).fill_many_(weights, generator)
    fan_in = math.prod(shape[2:])
    torch.testing.assert_close(weights, torch.full(shape, 3.0 / fan_in), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_theory_speaks_of_symmetric_weights_alone(net):
    assert law_of(net, Phase(0.0, 1.0)) is not None
    assert law_of(net, Phase(0.1, 1.0)) is None


def test_the_default_is_the_papers():
    assert repr(Phase()) == "Phase(J0=0, J=0.5)"


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"J": 0}, "J = 0: must be a number above 0"),
        ({"J": -0.5}, "J = -0.5: must be a number above 0"),
        ({"J": math.nan}, "J = nan: must be a number above 0"),
        ({"J0": math.inf}, "J0 = inf: must be a number"),
        ({"J0": "1"}, "J0 = '1': must be a number"),
        ({"J0": True}, "J0 = True: must be a number"),
    ],
)
def test_a_place_outside_the_plane_is_a_mistake(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Phase(**settings)
