"""Standard errors over nets include the variance over inputs: z-scores over repeated seeds have variance 1.

The variance of R independent z-scores has a standard error of about √(2/R). Negative controls are nets that share
inputs, as those of simulations did once, which got the inputs of a fixed set in turn, whatever the seed: with few
random inputs the estimate varies more than its error says; with each input of a data set in turn, less.
"""

from functools import partial

import numpy as np
import pytest
import torch

from start_training.datamodules.random_inputs import RandomInputs
from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import TensorDataModule
from start_training.ensembles.estimate import log_mean
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.ensembles.sample import Ensemble
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual

HE = VarianceScaling(2.0)
NETS, SEEDS = 512, 100
ADDING = partial(Residual, 12, 2, modules=4, width=12, scales="constant", eta=0.5)
TANH = partial(FullyConnected, 4, 2, widths=[20, 20], activation="tanh")


class Bright(TensorDataModule):
    """A data set of 40 images, some of which are much brighter than others."""

    input_shape = (4,)
    classes = 2

    def load(self):
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(40, 4, generator=generator) * torch.rand(40, 1, generator=generator).mul(4).exp()
        return Samples(inputs, torch.zeros(40, dtype=torch.int64)), Samples(inputs, torch.zeros(40, dtype=torch.int64))


def in_turn(data):
    """Return a function that gives nets the training inputs in turn, whatever the seed."""
    inputs = data.samples("training").inputs
    return lambda count, generator: inputs[torch.arange(count) % len(inputs)]


def few_random_inputs(seed):
    return in_turn(RandomInputs(12, samples=10, data_seed=seed, validation=0, batch_size=1))


BRIGHT = Bright(validation=0, scaling="unit", batch_size=1)
CASES = {  # net, its inputs, and the inputs that nets share in the control
    "random inputs": (ADDING, RandomInputs(12).draw_inputs, few_random_inputs),
    "a data set": (TANH, BRIGHT.draw_inputs, lambda seed: in_turn(BRIGHT)),
}


def sampled(build, inputs, nets, seed=0):
    return np.concatenate(list(Ensemble(build, HE, inputs, seed=seed).log_lengths(nets, threads=1)))


def z_variance(build, inputs_of_seed, exact):
    """Return the variance over seeds of (estimate − exact) / error of log E[M_d / M_0]."""
    estimates = [log_mean(sampled(build, inputs_of_seed(seed), NETS, seed)) for seed in range(1, SEEDS + 1)]
    scores = [(estimate.value[-1] - exact) / estimate.error[-1] for estimate in estimates]
    return np.square(scores).mean()


@pytest.mark.parametrize("build, fresh, shared", CASES.values(), ids=CASES)
def test_the_standard_error_of_the_mean_includes_the_variance_over_inputs(build, fresh, shared):
    exact, allowed = log_mean(sampled(build, fresh, 100 * NETS)).value[-1], 4 * (2 / SEEDS) ** 0.5
    assert abs(z_variance(build, lambda seed: fresh, exact) - 1) < allowed
    assert abs(z_variance(build, shared, exact) - 1) > allowed


@pytest.mark.slow
def test_residual_nets_of_width_20_have_the_mean_length_of_their_exact_law_with_any_seed():
    """The same 900 inputs gave 1.455 ± 0.002 for all seeds; by the exact law of finite width it is 1.4447 ± 0.0003."""
    build = partial(Residual, 20, 10, modules=4, width=20, scales="constant", eta=0.5)
    law, data = build().law(HE), RandomInputs(20)
    exact = log_mean(sample_gaussian_law(law, 500_000, generator=np.random.default_rng(0)))
    estimates = [log_mean(sampled(build, data.draw_inputs, 20_000, seed)) for seed in (0, 1)]
    assert estimates[0].value[-1] != estimates[1].value[-1]
    for estimate in estimates:
        assert (np.abs(estimate.value - exact.value) < 4 * np.hypot(estimate.error, exact.error) + 1e-9).all()
        assert estimate.value[-1] - law.log_mean_length()[-1] > 4 * estimate.error[-1]  # the limit of infinite width
    shared = log_mean(sampled(build, in_turn(data), 40_000))
    assert abs(shared.value[-1] - exact.value[-1]) > 4 * shared.error[-1]
