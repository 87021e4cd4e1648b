"""Tests of the exact law of lengths against sampled nets.

With 20,000 nets of each, a weight variance that is off by 5% is detected in every architecture.
"""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.ensembles.sample import Ensemble
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from tests.ensembles.biased import Biased

NETS = 20_000
FOUR_SIGMA = 6.3e-5  # two-sided p-value of four standard errors of a normal distribution


DENSE = partial(FullyConnected, 6, 1, widths=[5, 8, 4, 6])
ADDING = partial(Residual, 5, 1, modules=4, width=5, scales=[1.0, 0.5, 0.8, 0.3])
HE, BIASED = VarianceScaling(2.0), Biased(2.0)
CASES = {
    "leaky relu": (partial(DENSE, activation="leaky_relu"), HE),
    "linear": (partial(DENSE, activation="linear"), VarianceScaling(1.0)),
    "fan average": (DENSE, VarianceScaling(1.0, "fan_average")),
    "relu, biases": (DENSE, BIASED),
    "residual, one hidden layer, linear ending": (partial(ADDING, module_widths=[7], ending="linear"), HE),
    "residual, leaky, two hidden layers": (partial(ADDING, module_widths=[7, 3], activation="leaky_relu"), HE),
    "residual, biases": (partial(ADDING, module_widths=[7]), BIASED),
}


def measured(build, initializer):
    """Sample log M_0 … log M_d of nets; the input of each net is uniform on the sphere M_0 = 4."""
    size = build.args[0]
    inputs = torch.randn(NETS, size, generator=torch.Generator().manual_seed(0))
    inputs *= 2 / inputs.square().mean(1, keepdim=True).sqrt()
    return np.concatenate(list(Ensemble(build, initializer, inputs).log_lengths(NETS)))


def explicit(law):
    return sample_gaussian_law(law, NETS, generator=np.random.default_rng(0), log_input_length=np.log(4))


def distances(logs, others):
    """Return distances of means and variances of log M over living nets and of dead fractions, in errors, (3, d)."""
    means, errors = zip(*(moments(one[:, 1:]) for one in (logs, others)), strict=True)
    return np.abs(means[0] - means[1]) / (np.hypot(*errors) + 1e-9)


def moments(logs):
    living = np.where(np.isfinite(logs), logs, np.nan)
    centered = living - np.nanmean(living, axis=0)
    values = np.stack([living, centered**2, np.isneginf(logs)])  # (3, nets, d)
    return np.nanmean(values, axis=1), np.nanstd(values, axis=1) / np.isfinite(values).sum(1) ** 0.5


@pytest.mark.parametrize("build, initializer", CASES.values(), ids=CASES)
def test_the_exact_law_is_the_distribution_of_sampled_nets(build, initializer):
    logs, law = measured(build, initializer), build().law(initializer)
    ours = explicit(law)
    np.testing.assert_allclose(ours[:, 0], logs[:, 0], rtol=1e-5)
    assert (distances(logs, ours) < 4).all()
    for layer in range(1, logs.shape[1]):
        assert ks_2samp(logs[:, layer], ours[:, layer], method="asymp").pvalue > FOUR_SIGMA  # all quantiles at once
    wrong = explicit(dataclasses.replace(law, kappas=1.05 * law.kappas))
    assert distances(logs, wrong).max() > 4


def test_the_law_predicts_dead_nets_and_wrong_bias_variances_are_detected():
    for initializer in HE, BIASED:
        dead = np.isneginf(explicit(DENSE().law(initializer))).mean(0)
        assert (dead[1:] > 0).all()
        assert (np.diff(dead) > 0).all() == (initializer is HE)  # a bias revives them
    law = DENSE().law(BIASED)
    wrong = explicit(dataclasses.replace(law, bias_variances=1.3 * law.bias_variances))
    assert distances(measured(DENSE, BIASED), wrong).max() > 4


def test_only_gaussian_weights_without_dropout_have_an_explicit_law():
    for build in DENSE, ADDING:
        with pytest.raises(ValueError, match="kurtosis = "):
            explicit(build().law(TorchDefault()))
    with pytest.raises(ValueError, match="dropout = "):
        explicit(DENSE(dropout=0.5).law(HE))


@pytest.mark.parametrize("eta", [1.0, 1e-3])
@pytest.mark.parametrize("build", [ADDING, partial(ADDING, ending="linear")], ids=["relu", "linear"])
def test_no_depth_overflows(build, eta):
    net = build(modules=2000, scales="constant", eta=eta)
    assert np.isfinite(sample_gaussian_law(net.law(VarianceScaling(4.0)), 5, generator=np.random.default_rng(0))).all()
