"""Samples of the lengths of many nets at initialization, with which laws are compared."""

import numpy as np
import torch

from start_training.datamodules.random_inputs import RandomInputs
from start_training.ensembles.sample import Ensemble
from start_training.initializers.variance_scaling import VarianceScaling

HE = VarianceScaling(2.0)


def on_the_sphere(*shape):
    """Draw inputs with length M_0 = 1."""
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return inputs / inputs.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (len(shape) - 1))


def sample_logs(build, initializer=HE, *, nets, size=60, inputs=None):
    """Sample log M_0 … log M_d of many nets, shape (nets, d + 1); each net has a new input, or one of `inputs`."""
    inputs = RandomInputs(size).draw_inputs if inputs is None else inputs
    return np.concatenate(list(Ensemble(build, initializer, inputs).log_lengths(nets)))


def sample(build, initializer=HE, **settings):
    """Sample M_1 / M_0 … M_d / M_0 of many nets, shape (nets, d)."""
    logs = sample_logs(build, initializer, **settings)
    return np.exp(logs[:, 1:] - logs[:, :1])


def distance(estimate, predicted, layers=slice(1, None)):
    """Compute the distance between estimates and predictions of layers, in standard errors."""
    return np.abs(estimate.value[layers] - predicted) / estimate.error[layers]
