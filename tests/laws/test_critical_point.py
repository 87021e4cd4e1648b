"""Lengths and gradients of wide nets, measured, and predicted by the length map and by chi.

Gradient lengths are those of the readout's gradient with respect to each activation. Statistics are ratios of
neighbouring layers, which are nearly independent, averaged over the layers of each net.
"""

import numpy as np
import pytest
import torch

from start_training.initializers.critical import Critical
from start_training.initializers.initialize import initialize_
from start_training.initializers.initializer import Fans
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.gradient_length import gradient_lengths
from start_training.models.fully_connected import FullyConnected
from start_training.theory.activation import ACTIVATIONS
from start_training.theory.critical_point import chi, length_map

WIDTH, DEPTH, NETS = 200, 40, 30
SEEN = [0, 4, 9, 19, 39]  # layers that are compared with the law; in all layers, some would deviate by chance
WIDE = Fans(WIDTH, WIDTH)
AT_TEN = (10 - 0.32346) / 1.95582  # the M at which critical GELU layers are at q = 10
INITIALIZERS = {kappa: VarianceScaling(float(kappa)) for kappa in ("0.9", "1", "1.1", "1.9", "2", "2.1")}
INITIALIZERS["critical gelu"] = Critical("gelu", 10.0)
CASES = [
    ("tanh", "1", 1.0, ["0.9", "1.1"]),
    ("gelu", "critical gelu", AT_TEN, ["1.9", "2.1"]),
    ("gelu", "2", 1.0, ["1.1", "critical gelu"]),
]


def measured(activation, initializer, length):
    """Measure the lengths of activations and gradients in NETS nets with an input of the given length.

    Returns:
        M_0 … M_d and G_0 … G_d, each of shape (nets, d + 1).
    """
    generator = torch.Generator().manual_seed(0)
    net = FullyConnected(WIDTH, 1, depth=DEPTH, width=WIDTH, activation=activation)
    lengths, gradients = [], []
    for _ in range(NETS):
        initialize_(net, INITIALIZERS[initializer], generator=generator)
        x = torch.randn(1, WIDTH, generator=generator)
        activations = [(x * (length / x.square().mean()).sqrt()).requires_grad_()]
        for layer in net.hidden:
            activations.append(layer(activations[-1]))
        of_each = torch.autograd.grad(net.readout(activations[-1]).sum(), activations)
        lengths.append([activation_lengths(act.detach()).item() for act in activations])
        gradients.append([gradient_lengths(gradient).item() for gradient in of_each])
    return np.array(lengths), np.array(gradients)


def predicted(activation, initializer, length):
    """Compute E[M_0] … E[M_d] and chi_1 … chi_d in the wide limit."""
    phi, lengths, factors = ACTIVATIONS[activation], [length], []
    weight_variance = INITIALIZERS[initializer].kappa(WIDE)
    for _ in range(DEPTH):
        q = weight_variance * lengths[-1] + INITIALIZERS[initializer].bias_variance(WIDE)
        lengths.append(length_map(phi, q, 1.0))
        factors.append(chi(phi, q, weight_variance))
    return np.array(lengths), np.array(factors)


def growth(lengths):
    """Compute the mean ratio of the lengths of neighbouring layers."""
    return (lengths[..., 1:] / lengths[..., :-1]).mean(-1)


def backward(gradients):
    return gradients[:, :-1] / gradients[:, 1:]


@pytest.mark.parametrize("activation, initializer, length, wrong", CASES)
def test_lengths_follow_the_length_map_and_gradients_chi(activation, initializer, length, wrong, sigmas):
    lengths, gradients = measured(activation, initializer, length)
    law, factors = predicted(activation, initializer, length)
    assert (sigmas(lengths[:, 1:], law[1:]) < 4)[SEEN].all()
    assert (sigmas(backward(gradients), factors) < 4)[SEEN].all()
    for other in wrong:
        law, factors = predicted(activation, other, length)
        assert sigmas(growth(lengths), growth(law)) > 4
        assert sigmas(backward(gradients).mean(1), factors.mean()) > 4
