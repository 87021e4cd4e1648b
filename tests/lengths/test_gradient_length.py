"""Gradient lengths of known gradients, and their growth through layers."""

import numpy as np
import torch

from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.lengths.gradient_length import gradient_lengths
from start_training.models.fully_connected import FullyConnected

WIDTHS = [40, 120, 30]  # unequal, so that a wrong power of the width shows


def test_a_gradient_length_is_the_squared_norm_of_a_sample():
    gradient = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    torch.testing.assert_close(gradient_lengths(gradient), torch.tensor([25.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(gradient_lengths(gradient.reshape(2, 1, 2, 1)), gradient_lengths(gradient))
    torch.testing.assert_close(gradient_lengths(gradient * 2.0**100), gradient_lengths(gradient) * 2.0**200)
    assert gradient_lengths(torch.zeros(0, 3)).shape == (0,)
    torch.testing.assert_close(gradient_lengths(gradient[:, 0]), torch.tensor([9.0, 0.0], dtype=torch.float64))


def test_a_layer_multiplies_gradient_lengths_by_half_kappa_for_any_widths(generator, sigmas):
    kappa = 1.0
    net, inputs = FullyConnected(50, 10, widths=WIDTHS), torch.randn(1, 50, generator=generator)
    ratios = []
    for _ in range(400):
        initialize_(net, VarianceScaling(kappa), generator=generator)
        activations = [inputs.clone().requires_grad_()]
        for layer in net.hidden:
            activations.append(layer(activations[-1]))
        cotangent = torch.randn(1, 10, generator=generator)
        gradients = torch.autograd.grad(net.readout(activations[-1]), activations, cotangent)
        lengths = np.array([float(gradient_lengths(gradient)) for gradient in gradients])
        ratios.append(lengths[:-1] / lengths[1:])
    assert (sigmas(ratios, kappa / 2) < 4).all()
    assert (sigmas(ratios, kappa / 2 * np.array([50 / 40, 40 / 120, 120 / 30])) > 4).all()  # divided by the width
