"""J0 and J of a layer are those its weights were drawn with, whatever its shape."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from src.initializers.initializer import Fans
from src.initializers.variance_scaling import VarianceScaling
from src.order_chaos.phase import layer_phase


@pytest.mark.parametrize("shape", [(40, 40), (30, 50), (8, 6, 3, 3), (12, 5, 7)])
def test_it_is_the_moments_of_all_entries_times_the_fan_in(shape, generator):
    weight = torch.randn(shape, generator=generator) + 0.3
    entries, fan_in = weight.numpy().astype(np.float64), math.prod(shape[1:])
    phase = layer_phase(weight)
    assert list(phase) == pytest.approx([fan_in * entries.mean(), math.sqrt(fan_in) * entries.std()])
    assert abs(phase.J2 - phase.J**2) < 1e-12


@pytest.mark.parametrize("wrong", [0.0, 0.02])
def test_drawn_with_a_phase_a_layer_has_it(generator, wrong):
    N, J0, J = 300, 0.8, 0.5
    weight = J0 / N + J / math.sqrt(N) * torch.randn(N, N, generator=generator)
    phase = layer_phase(weight)
    errors = J * math.sqrt(1 / N), J / math.sqrt(2 * N**2)  # of N · mean and of √N · deviation, over N² entries
    sigmas = [abs(phase.J0 - J0 - 8 * wrong) / errors[0], abs(phase.J - J - wrong) / errors[1]]
    assert (max(sigmas) < 4) == (min(sigmas) < 4) == (wrong == 0)  # the control: both are seen to be off


def test_of_a_layer_that_is_not_square_J2_is_its_kappa(generator):
    layer = nn.Conv2d(30, 40, 5)
    law = VarianceScaling(2.0)
    law(layer.weight.data, generator)
    assert abs(layer_phase(layer.weight).J2 - law.kappa(Fans.of(layer.weight))) < 4 * 2 * math.sqrt(2 / 30_000)


def test_half_precision_is_summed_in_double():
    weight = torch.full((1000, 1000), 0.001, dtype=torch.bfloat16)
    assert list(layer_phase(weight)) == pytest.approx([1000 * float(weight[0, 0]), 0], rel=1e-12)
