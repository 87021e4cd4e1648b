"""Three samplers, one law: layer by layer, vectorized over nets, and one net after the other.

Compared of each layer, by two-sample z-tests: the mean log length of living nets, the first two moments of its ratio
to the layer before it, and the share of dead nets. Power: between FAST nets of either fast sampler, a weight variance
that is off by 10% is found, for every initializer and architecture below; between these and SLOW nets, as many as
the reference gives, one that is off by 50%.
"""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from start_training.ensembles.sample import Ensemble
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from tests.ensembles.biased import Biased

FAST, SLOW = 8_000, 300
HE = VarianceScaling(2.0)
DENSE = partial(FullyConnected, 4, 2, widths=[8, 6, 7])
ADDING = partial(Residual, 4, 2, modules=3, width=6, scales=[1.0, 0.5, 0.8])
BUILDS = {
    "fully connected": DENSE,
    "residual": ADDING,
    "residual, one hidden layer": partial(ADDING, module_widths=[7]),
    "residual, linear ending": partial(ADDING, ending="linear"),
    "residual, one hidden layer, linear ending": partial(ADDING, module_widths=[7], ending="linear"),
}


def stretched(initializer, factor=1.1):
    """Draws as the initializer does, weights times the root of a factor."""
    other = copy.copy(initializer)
    fill = other.fill_many_
    other.fill_many_ = lambda weights, generator=None: (fill(weights, generator), weights.mul_(math.sqrt(factor)))
    return other


def sample(sampler, build, initializer=HE, *, nets=None, shape=(4,), samples=1):
    """log M_0 … log M_d, (nets, d + 1), of 50 inputs in turn; each sampler has a seed of its own."""
    inputs = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    seed = ("layerwise", "vectorized", "reference").index(sampler)
    ensemble = Ensemble(build, initializer, inputs, seed=seed, samples=samples)
    nets = nets or (SLOW if sampler == "reference" else FAST)
    return np.concatenate(list(ensemble.log_lengths(nets, sampler=sampler)))


def quantities(logs):
    """What is compared, (nets, 4 d + 2); NaN where a net has no say."""
    lengths = np.exp(logs)
    ratios = lengths[:, 1:] / (lengths[:, :-1] + 0.02)  # where biases revive a layer, plain ratios have no moments
    living = np.where(np.isfinite(logs), logs, np.nan)
    return np.concatenate([living, ratios, ratios**2, np.isneginf(logs)], axis=1)


def distance(logs, others):
    """The greatest distance between the means of two ensembles, in standard errors.

    Of one law they have one variance, which both together tell best: few nets may show none dead where a few are.
    """
    one, other = quantities(logs), quantities(others)
    counts = sum(1 / np.isfinite(values).sum(0) for values in (one, other))
    errors = np.sqrt(np.nanvar(np.concatenate([one, other]), axis=0) * counts)
    return float((np.abs(np.nanmean(one, axis=0) - np.nanmean(other, axis=0)) / (errors + 1e-5)).max())


def they_agree(build, initializer, *, wrong=None, nets=FAST, samples=1):
    """That they have one law, which is told from that of other weights: what was sampled layer by layer."""
    layerwise = sample("layerwise", build, initializer, nets=nets, samples=samples)
    assert distance(layerwise, sample("vectorized", build, initializer, nets=nets, samples=samples)) < 4
    assert distance(layerwise, sample("reference", build, initializer, samples=samples)) < 4
    wrong = wrong or stretched(initializer)
    assert distance(layerwise, sample("vectorized", build, wrong, samples=samples)) > 4
    return layerwise


# Of each way to fill a tensor one initializer, in the first architecture; the others with and without biases.
PAIRS = [("fully connected", name) for name in ("he_normal", "he_uniform", "he_truncated_normal", "orthogonal")]
PAIRS += [("residual", "orthogonal"), ("residual, linear ending", "he_normal"), ("fully connected", "torch_default")]
PAIRS += [("residual, one hidden layer", "torch_default"), ("residual, one hidden layer, linear ending", "he_uniform")]


@pytest.mark.parametrize(("build", "name"), PAIRS)
def test_three_samplers_have_one_law(initializer_named, build, name):
    initializer = initializer_named(name)
    layerwise = they_agree(BUILDS[build], initializer)
    few = sample("vectorized", BUILDS[build], stretched(initializer, 1.5), nets=SLOW)
    assert distance(layerwise, few) > 4  # also the reference's few nets would show it
    if (build, name) == PAIRS[0]:  # nor is another kurtosis taken for this one
        assert distance(layerwise, sample("vectorized", BUILDS[build], initializer_named("he_uniform"))) > 4


def test_any_callable_is_an_initializer():
    # Net by net rather than at once: fewer of them.
    of_torch = they_agree(DENSE, nn.init.kaiming_normal_, nets=3000, wrong=VarianceScaling(2.24))
    assert distance(of_torch, sample("vectorized", DENSE)) < 4  # its gain √2 is He's


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_they_agree_for_biases_larger_than_the_activations(activation):
    they_agree(partial(DENSE, activation=activation), Biased(2.0, variance=9.0), wrong=HE)


@pytest.mark.parametrize("build", [DENSE, ADDING], ids=["fully connected", "residual"])
def test_several_samples_are_averaged_in_each_net(build):
    assert distance(they_agree(build, HE, samples=3), sample("vectorized", build)) > 4


def sample_seeded_reference(build, **settings):
    """Dropout draws from the process's stream, and so do constructors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sample("reference", build, **settings)


def test_dropout_is_vectorized_and_refused_layer_by_layer():
    dropping = partial(DENSE, dropout=0.3)
    vectorized = sample("vectorized", dropping)
    assert distance(vectorized, sample_seeded_reference(dropping)) < 4
    assert distance(vectorized, sample("vectorized", DENSE)) > 4
    assert Ensemble(dropping, HE, torch.randn(2, 4)).choose_sampler() == "vectorized"
    with pytest.raises(ValueError, match="sampler = layerwise"):
        sample("layerwise", dropping)


class Branching(nn.Module):
    """Looks at a number before it goes on, which no vectorized forward pass can."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 6)

    def forward(self, inputs):
        activation = self.first(inputs).relu()
        return self.second(activation) if activation.sum().item() >= 0 else activation


def test_the_projects_own_nets_are_sampled_layer_by_layer_and_what_cannot_be_vectorized_by_the_reference():
    assert {Ensemble(build, HE, torch.randn(2, 4)).choose_sampler() for build in BUILDS.values()} == {"layerwise"}
    ensemble = Ensemble(Branching, HE, torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    assert ensemble.choose_sampler() == "reference"
    automatic, slow = (np.concatenate(list(ensemble.log_lengths(5, sampler=name))) for name in ("auto", "reference"))
    assert np.array_equal(automatic, slow)
    with pytest.raises(RuntimeError):
        list(ensemble.log_lengths(5, sampler="vectorized"))
