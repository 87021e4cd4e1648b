"""Tests of `Ensemble` for all samplers: net k is reproducible, no global state changes, no depth overflows."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from start_training.datamodules.random_inputs import RandomInputs
from start_training.ensembles.estimate import log_mean_by_ratios
from start_training.ensembles.sample import SAMPLERS, Ensemble
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from tests.ensembles.biased import Biased

HE = VarianceScaling(2.0)
NETS = {"layerwise": 600, "vectorized": 300, "reference": 12}  # several chunks of each


def fill_from_global_stream(weight):
    """An initializer without a generator: it draws from torch's global random stream, in a single thread."""
    nn.init.normal_(weight, std=0.2)


# Drawn for many nets at once, for many nets with biases, net by net, and net by net from the global stream.
INITIALIZERS = {
    "normal": HE,
    "torch default": TorchDefault(),
    "torch function": nn.init.kaiming_normal_,
    "global stream": fill_from_global_stream,
}
EVERY_INITIALIZER = pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS)
EVERY_SAMPLER = pytest.mark.parametrize("sampler", SAMPLERS)


def ensemble(initializer=HE, *, size=30, seed=0, inputs=None, **settings):
    settings = {"widths": [size] * 3} | settings
    if inputs is None:
        inputs = torch.randn(7, size, generator=torch.Generator().manual_seed(0))
    return Ensemble(partial(FullyConnected, inputs.shape[1], 2, **settings), initializer, inputs, seed=seed)


def sampled(ensemble, nets, **settings):
    return np.concatenate(list(ensemble.log_lengths(nets, **settings)))


@EVERY_INITIALIZER
@EVERY_SAMPLER
def test_net_k_does_not_depend_on_the_sampled_range_and_no_global_state_changes(sampler, initializer):
    built, threads, before = ensemble(initializer), torch.get_num_threads(), torch.get_rng_state()
    net = built.build()
    torch.set_rng_state(before)  # the constructor has drawn weights
    one, nets = Ensemble(lambda: copy.deepcopy(net), initializer, built.inputs), NETS[sampler]
    whole = sampled(one, nets, sampler=sampler)
    assert whole.shape == (nets, 4)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(1)  # the lengths do not depend on the global random stream
    for first, end in ((nets // 2 - 1, nets), (nets // 3, nets // 3 + 1)):
        assert np.array_equal(sampled(one, end, first=first, sampler=sampler), whole[first:end])
    assert len(np.unique(whole[:, 1])) == nets


@EVERY_INITIALIZER
def test_a_net_is_the_same_for_any_number_of_threads(initializer):
    one, threads_of_torch = ensemble(initializer), torch.get_num_threads()
    single_threaded = sampled(one, 600, threads=1)
    for threads in 2, 5:
        assert np.array_equal(sampled(one, 600, threads=threads), single_threaded)
    assert torch.get_num_threads() == threads_of_torch


@EVERY_SAMPLER
def test_another_seed_gives_other_nets_and_the_global_random_stream_is_restored(sampler):
    before, inputs = torch.get_rng_state(), torch.ones(1, 30)
    lengths = [sampled(ensemble(inputs=inputs, seed=seed), NETS[sampler], sampler=sampler) for seed in (0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert len(np.unique(np.concatenate(lengths)[:, 1])) == 2 * NETS[sampler]
    if sampler != "layerwise":  # dropout depends on the seed too
        first, second = (sampled(ensemble(dropout=0.5), 12, sampler=sampler) for _ in range(2))
        assert np.array_equal(first, second)


@EVERY_SAMPLER
@pytest.mark.parametrize("samples", [1, 2, 100])
@pytest.mark.parametrize("source", ["data set", "random"])
def test_the_inputs_of_net_k_depend_on_the_seed_and_k_alone(sampler, samples, source):
    nets = NETS[sampler] // 4
    inputs = RandomInputs(30).draw_inputs if source == "random" else torch.arange(1, 6)[:, None] * torch.ones(5, 30)
    build = partial(FullyConnected, 30, 2, widths=[30])
    one, same, other = (Ensemble(build, HE, inputs, seed=seed, samples=samples) for seed in (4, 4, 5))
    whole = one.inputs_of(range(nets))
    for start, end in ((0, 1), (nets // 2, nets // 2 + 1), (1, nets)):
        assert torch.equal(same.inputs_of(range(start, end)), whole[start:end])
    assert whole.shape == (nets, samples, 30)
    assert not torch.equal(other.inputs_of(range(nets)), whole)
    logs = whole.double().square().mean((1, 2)).log()
    np.testing.assert_allclose(sampled(one, nets, sampler=sampler)[:, 0], logs, atol=1e-6)
    if source == "random":
        assert len(whole.flatten(0, 1).unique(dim=0)) == nets * samples


def test_inputs_are_drawn_uniformly_from_a_data_set():
    counts = Ensemble(None, HE, torch.arange(5.0)[:, None], samples=3).inputs_of(range(2000)).flatten().int().bincount()
    assert (counts - 1200).abs().max() < 4 * (6000 * 0.2 * 0.8) ** 0.5
    assert (counts != 1200).any()  # not each input in turn


class Own(FullyConnected):
    """A subclass, whose forward pass may differ from that of FullyConnected."""


@EVERY_SAMPLER
def test_settings_that_cannot_be_sampled_are_named(sampler):
    with pytest.raises(ValueError, match="initializer = "):
        sampled(ensemble(lambda weight: weight.fill_(math.nan)), 3, sampler=sampler)
    for name, value in (("sampler", "quantum"), ("nets", -1)):
        with pytest.raises(ValueError, match=f"{name} = "):
            list(ensemble().log_lengths(**{"nets": 3, "sampler": sampler, name: value}))
    with pytest.raises(ValueError, match=r"sampler = layerwise: .* not this Own; set sampler=auto"):
        sampled(Ensemble(partial(Own, 30, 2, widths=[30]), HE, torch.ones(1, 30)), 3, sampler="layerwise")


@pytest.mark.parametrize("kappa", [4.0, 0.3])
def test_no_depth_overflows(kappa):
    logs = sampled(ensemble(VarianceScaling(kappa), size=50, widths=[50] * 1000), 25)
    assert np.isfinite(logs).all()
    value, error = (numbers[-1] for numbers in log_mean_by_ratios(logs))
    assert abs(value - 1000 * math.log(kappa / 2)) < 4 * error
    for wrong in 0.98 * kappa, 1.02 * kappa:
        assert abs(value - 1000 * math.log(wrong / 2)) > 4 * error


@pytest.mark.parametrize(("kappa", "scale"), [(0.3, 0.1), (4.0, 1e-30)])
def test_biases_are_added_correctly_at_any_scale_of_the_activations(kappa, scale):
    inputs = scale * torch.ones(1, 20, dtype=torch.float64)
    fast = sampled(ensemble(Biased(kappa, variance=0.1), inputs=inputs.float(), widths=[20] * 90), 2000)
    one = ensemble(Biased(kappa, variance=0.1), inputs=inputs, widths=[20] * 90)
    exact = Ensemble(lambda: one.build().double(), one.initializer, inputs)  # float32 overflows at the square of 2^90
    slow = sampled(exact, 64, sampler="reference")
    error = np.sqrt(fast.var(0, ddof=1) / len(fast) + slow.var(0, ddof=1) / len(slow))[1:]
    assert (np.abs(fast.mean(0) - slow.mean(0))[1:] < 4 * error).all()
    without = sampled(ensemble(VarianceScaling(kappa), inputs=inputs.float(), widths=[20] * 90), 2000)
    living = without[np.isfinite(without[:, -1]), -1]
    assert abs(living.mean() - fast[:, -1].mean()) > 4 * (living.var() / len(living) + fast[:, -1].var() / 2000) ** 0.5


@pytest.mark.parametrize("ending", ["relu", "linear"])
def test_a_residual_net_that_explodes_stays_finite(ending):
    build = partial(Residual, 20, 2, modules=500, width=20, scales="constant", eta=1.0, ending=ending)
    logs = sampled(Ensemble(build, HE, torch.ones(1, 20)), 5)
    assert np.isfinite(logs).all()
    assert logs[:, -1].mean() > math.log(torch.finfo(torch.float32).max)
