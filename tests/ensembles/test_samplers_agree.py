"""Tests that the layerwise, the vectorized and the reference sampler draw from the same distribution.

Two-sample z-tests compare for each layer the mean log length of living nets, the first two moments of the ratio of its
length to that of the layer before, and the fraction of dead nets. Power: with FAST nets of each of the two fast
samplers, a weight variance that is off by 10% is detected for every initializer and architecture below; with FAST nets
of one sampler and SLOW nets of the reference, a variance that is off by 50%.
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
    """Return a copy of the initializer whose weights have a variance that is larger by a factor."""
    other = copy.copy(initializer)
    fill = other.fill_many_
    other.fill_many_ = lambda weights, generator=None: (fill(weights, generator), weights.mul_(math.sqrt(factor)))
    return other


def sample(sampler, build, initializer=HE, *, nets=None, shape=(4,), samples=1):
    """Return log M_0 … log M_d, shape (nets, d + 1), for 50 inputs in turn; each sampler has its own seed."""
    inputs = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    seed = ("layerwise", "vectorized", "reference").index(sampler)
    ensemble = Ensemble(build, initializer, inputs, seed=seed, samples=samples)
    nets = nets or (SLOW if sampler == "reference" else FAST)
    return np.concatenate(list(ensemble.log_lengths(nets, sampler=sampler)))


def quantities(logs):
    """Return the compared quantities of each net, shape (nets, 4 d + 2); NaN where a net does not count."""
    lengths = np.exp(logs)
    ratios = lengths[:, 1:] / (lengths[:, :-1] + 0.02)  # plain ratios have no moments if biases revive a dead layer
    living = np.where(np.isfinite(logs), logs, np.nan)
    return np.concatenate([living, ratios, ratios**2, np.isneginf(logs)], axis=1)


def distance(logs, others):
    """Return the largest distance between the means of two ensembles, in standard errors.

    The variance is pooled, since ensembles of the same law have equal variances, and an estimate from few nets may be
    zero (no dead net) by chance.
    """
    one, other = quantities(logs), quantities(others)
    counts = sum(1 / np.isfinite(values).sum(0) for values in (one, other))
    errors = np.sqrt(np.nanvar(np.concatenate([one, other]), axis=0) * counts)
    return float((np.abs(np.nanmean(one, axis=0) - np.nanmean(other, axis=0)) / (errors + 1e-5)).max())


def assert_samplers_agree(build, initializer, *, wrong=None, nets=FAST, samples=1):
    """Assert that all samplers agree and that other weights are detected; return the layerwise lengths."""
    layerwise = sample("layerwise", build, initializer, nets=nets, samples=samples)
    assert distance(layerwise, sample("vectorized", build, initializer, nets=nets, samples=samples)) < 4
    assert distance(layerwise, sample("reference", build, initializer, samples=samples)) < 4
    wrong = wrong or stretched(initializer)
    assert distance(layerwise, sample("vectorized", build, wrong, samples=samples)) > 4
    return layerwise


# The first architecture with one initializer of each kind; the others with and without biases.
PAIRS = [("fully connected", name) for name in ("he_normal", "he_uniform", "he_truncated_normal", "orthogonal")]
PAIRS += [("residual", "orthogonal"), ("residual, linear ending", "he_normal"), ("fully connected", "torch_default")]
PAIRS += [("residual, one hidden layer", "torch_default"), ("residual, one hidden layer, linear ending", "he_uniform")]
AT_ONCE = (0, 3, 7)  # of these, what the default tests do


@pytest.mark.parametrize(
    ("build", "name"),
    [pytest.param(*pair, marks=() if i in AT_ONCE else pytest.mark.slow) for i, pair in enumerate(PAIRS)],
)
def test_three_samplers_have_one_law(initializer_named, build, name):
    initializer = initializer_named(name)
    layerwise = assert_samplers_agree(BUILDS[build], initializer)
    few = sample("vectorized", BUILDS[build], stretched(initializer, 1.5), nets=SLOW)
    assert distance(layerwise, few) > 4  # as few nets as those of the reference show the difference too
    if (build, name) == PAIRS[0]:  # another kurtosis is detected too
        assert distance(layerwise, sample("vectorized", BUILDS[build], initializer_named("he_uniform"))) > 4


def test_any_callable_is_an_initializer():
    # Fewer nets, since these weights are drawn net by net.
    of_torch = assert_samplers_agree(DENSE, nn.init.kaiming_normal_, nets=3000, wrong=VarianceScaling(2.24))
    assert distance(of_torch, sample("vectorized", DENSE)) < 4  # its gain √2 is He's


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_samplers_agree_for_biases_larger_than_the_activations(activation):
    assert_samplers_agree(partial(DENSE, activation=activation), Biased(2.0, variance=9.0), wrong=HE)


@pytest.mark.parametrize("build", [DENSE, ADDING], ids=["fully connected", "residual"])
def test_several_samples_are_averaged_in_each_net(build):
    assert distance(assert_samplers_agree(build, HE, samples=3), sample("vectorized", build)) > 4


def sample_seeded_reference(build, **settings):
    """Sample by the reference with a seeded global stream, from which dropout and constructors draw."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sample("reference", build, **settings)


def test_dropout_is_supported_by_the_vectorized_sampler_and_not_by_the_layerwise_one():
    dropping = partial(DENSE, dropout=0.3)
    vectorized = sample("vectorized", dropping)
    assert distance(vectorized, sample_seeded_reference(dropping)) < 4
    assert distance(vectorized, sample("vectorized", DENSE)) > 4
    assert Ensemble(dropping, HE, torch.randn(2, 4)).choose_sampler() == "vectorized"
    with pytest.raises(ValueError, match="sampler = layerwise"):
        sample("layerwise", dropping)


class Branching(nn.Module):
    """A net whose forward pass branches on a value, which vmap cannot vectorize."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 6)

    def forward(self, inputs):
        activation = self.first(inputs).relu()
        return self.second(activation) if activation.sum().item() >= 0 else activation


def test_auto_chooses_layerwise_for_the_nets_of_this_package_and_reference_if_vmap_fails():
    assert {Ensemble(build, HE, torch.randn(2, 4)).choose_sampler() for build in BUILDS.values()} == {"layerwise"}
    ensemble = Ensemble(Branching, HE, torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    assert ensemble.choose_sampler() == "reference"
    automatic, slow = (np.concatenate(list(ensemble.log_lengths(5, sampler=name))) for name in ("auto", "reference"))
    assert np.array_equal(automatic, slow)
    with pytest.raises(RuntimeError):
        list(ensemble.log_lengths(5, sampler="vectorized"))


class Unusual(nn.Module):
    """A grouped convolution, packed attention and a projection that is zero, as the end of a branch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(8, 8, 1, groups=2), nn.ReLU())
        self.attention, self.end = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)
        nn.init.zeros_(self.end.weight)
        self.activation, self.readout = nn.ReLU(), nn.Linear(8, 3)

    def forward(self, inputs):
        hidden = self.conv(inputs).mT
        hidden = self.activation(self.attention(hidden, hidden, hidden)[0] + self.end(hidden))
        return self.readout(hidden)


def test_layers_of_unusual_kinds_are_drawn_alike_by_all_samplers():
    ensemble = Ensemble(Unusual, VarianceScaling(2.0), torch.randn(1, 8, 5, generator=torch.Generator().manual_seed(0)))
    assert ensemble.choose_sampler() == "vectorized"
    means = []
    for sampler in ("vectorized", "reference"):
        [*blocks] = ensemble.log_lengths(300, sampler=sampler)
        last = np.exp(np.concatenate(blocks)[:, -1])
        means.append((last.mean(), last.std() / 300**0.5))
    (one, error), (other, of_other) = means
    assert abs(one - other) < 4 * math.hypot(error, of_other) < one


def test_computed_and_lazy_weights_are_sampled_net_by_net_or_after_a_forward_pass():
    def normed():
        net = FullyConnected(6, 3, depth=2, width=5)
        nn.utils.parametrizations.spectral_norm(net.hidden[1].linear)
        return net

    def lazy():
        return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 3))

    for build, sampler in ((normed, "reference"), (lazy, "vectorized")):
        ensemble = Ensemble(build, VarianceScaling(2.0), torch.ones(1, 6))
        assert ensemble.choose_sampler() == sampler
        assert len({float(lengths[-1]) for block in ensemble.log_lengths(5) for lengths in block}) == 5
