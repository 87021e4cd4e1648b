"""What an ensemble promises whatever its nets: net k is net k, nothing global changes, no depth overflows."""

import copy
import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from src.ensembles.estimate import dead_share, log_mean_by_ratios
from src.ensembles.sample import SAMPLERS, Ensemble
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import VarianceScaling
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual
from src.theory.log_length import log_survival

HE = VarianceScaling(2.0)
NETS = {"layerwise": 600, "vectorized": 300, "reference": 12}  # several chunks of each
INITIALIZERS = {
    "normal": HE,
    "uniform": VarianceScaling(2.0, distribution="uniform"),
    "truncated": VarianceScaling(2.0, distribution="truncated_normal"),
    "torch default": TorchDefault(),
    "callable": nn.init.kaiming_normal_,
    "callable without a generator": lambda weight: nn.init.normal_(weight, std=0.2),
}


def ensemble(initializer=HE, *, size=30, seed=0, inputs=None, **settings):
    settings = {"widths": [size] * 3} | settings
    if inputs is None:
        inputs = torch.randn(7, size, generator=torch.Generator().manual_seed(0))
    return Ensemble(partial(FullyConnected, inputs.shape[1], 2, **settings), initializer, inputs, seed=seed)


def sampled(ensemble, nets, **settings):
    return np.concatenate(list(ensemble.log_lengths(nets, **settings)))


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_net_is_the_same_wherever_a_run_began_or_ended(sampler, initializer):
    one, nets = ensemble(initializer), NETS[sampler]
    whole = sampled(one, nets, sampler=sampler)
    assert whole.shape == (nets, 4)
    for first, end in ((0, nets // 2 - 1), (nets // 2 - 1, nets), (nets // 3, nets // 3 + 1), (nets - 1, nets)):
        assert np.array_equal(sampled(one, end, first=first, sampler=sampler), whole[first:end])


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS)
def test_a_net_is_the_same_for_any_number_of_threads(initializer):
    one = ensemble(initializer)
    alone = sampled(one, 600, threads=1)
    assert np.array_equal(sampled(one, 600, threads=2), alone)
    assert np.array_equal(sampled(one, 600, threads=5), alone)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_two_nets_and_no_two_seeds_are_the_same(sampler):
    one = torch.ones(1, 30)
    lengths = [sampled(ensemble(inputs=one, seed=seed), NETS[sampler], sampler=sampler) for seed in (0, 1, 2)]
    assert len(np.unique(np.concatenate(lengths)[:, 1])) == 3 * NETS[sampler]


def test_each_net_meets_its_own_input():
    inputs = torch.arange(1, 6)[:, None].expand(5, 30).float()
    squares = torch.arange(1, 6).double().square()
    lengths = sampled(ensemble(inputs=inputs), 12)
    np.testing.assert_allclose(np.exp(lengths[:, 0]), squares.repeat(3)[:12])
    build = partial(FullyConnected, 30, 2, widths=[30])
    averaged = sampled(Ensemble(build, HE, inputs, samples=2), 6)
    np.testing.assert_allclose(np.exp(averaged[:, 0]), squares.repeat(3)[:12].reshape(6, 2).mean(1))


@pytest.mark.parametrize("initializer", INITIALIZERS.values(), ids=INITIALIZERS)
@pytest.mark.parametrize("sampler, threads", [("layerwise", 1), ("layerwise", 2), ("vectorized", 1), ("reference", 1)])
def test_nothing_global_changes(sampler, initializer, threads):
    built, of_torch, before = ensemble(initializer), torch.get_num_threads(), torch.get_rng_state()
    net = built.build()
    torch.set_rng_state(before)  # a constructor draws: below
    one = Ensemble(lambda: copy.deepcopy(net), initializer, built.inputs)
    first = sampled(one, NETS[sampler], sampler=sampler, threads=threads)
    assert torch.get_num_threads() == of_torch
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(1)  # nor does anything depend on it
    assert np.array_equal(sampled(one, NETS[sampler], sampler=sampler, threads=threads), first)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_constructors_draw_is_put_back(sampler):
    before = torch.get_rng_state()
    sampled(ensemble(), 3, sampler=sampler)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sampler", ["vectorized", "reference"])
def test_dropout_is_a_function_of_the_seed_too(sampler):
    first, second = (sampled(ensemble(dropout=0.5), 12, sampler=sampler) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_blocks_come_in_order_and_end_where_they_should(sampler):
    one, nets = ensemble(), NETS[sampler]
    blocks = list(one.log_lengths(nets, first=5, sampler=sampler, threads=2))
    assert len(blocks) > 1
    assert all(len(block) for block in blocks)
    assert np.array_equal(np.concatenate(blocks), sampled(one, nets, sampler=sampler)[5:])
    assert sum(map(len, one.log_lengths(nets, first=nets, sampler=sampler))) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_may_be_left_early(threads):
    of_torch = torch.get_num_threads()
    blocks = ensemble().log_lengths(10**9, threads=threads)
    first = next(blocks)
    blocks.close()
    assert torch.get_num_threads() == of_torch
    assert np.array_equal(next(ensemble().log_lengths(10**9, threads=threads)), first)


def nan_(weight):
    weight.fill_(math.nan)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_weights_that_are_not_numbers_are_refused(sampler):
    with pytest.raises(ValueError, match="initializer = "):
        sampled(ensemble(nan_), 3, sampler=sampler)


@pytest.mark.parametrize("settings", [{"sampler": "quantum"}, {"sampler": None}, {"nets": -1}, {"nets": 2.5}], ids=str)
def test_a_setting_that_is_unknown_is_named(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} = "):
        list(ensemble().log_lengths(**{"nets": 3} | settings))


def test_a_layerwise_sampler_knows_no_other_net():
    class Own(FullyConnected):
        """Whose forward may differ."""

    build = partial(Own, 30, 2, widths=[30])
    with pytest.raises(ValueError, match="sampler = layerwise"):
        sampled(Ensemble(build, HE, torch.ones(1, 30)), 3, sampler="layerwise")


@pytest.mark.parametrize("kappa", [4.0, 0.3])
def test_no_depth_overflows(kappa):
    logs = sampled(ensemble(VarianceScaling(kappa), size=200, widths=[200] * 2000), 3)
    assert np.isfinite(logs).all()
    value, error = (numbers[-1] for numbers in log_mean_by_ratios(logs))
    assert abs(value - 2000 * math.log(kappa / 2)) < 4 * error
    for wrong in 0.98 * kappa, 1.02 * kappa:
        assert abs(value - 2000 * math.log(wrong / 2)) > 4 * error


class Biased(VarianceScaling):
    """Normal biases of variance 0.1 beside normal weights."""

    def bias_variance(self, fans):
        return 0.1

    def fill_bias_(self, bias, fans, generator=None):
        bias.normal_(0.0, math.sqrt(0.1), generator=generator)


@pytest.mark.parametrize("scale", [0.1, 1e-30], ids=["small input", "tiny input"])
@pytest.mark.parametrize("kappa", [0.3, 2.0, 4.0])
def test_biases_are_carried_along_at_any_scale(kappa, scale):
    inputs = scale * torch.ones(1, 20, dtype=torch.float64)
    fast = sampled(ensemble(Biased(kappa), inputs=inputs.float(), widths=[20] * 90), 2000)
    one = ensemble(Biased(kappa), inputs=inputs, widths=[20] * 90)
    exact = Ensemble(lambda: one.build().double(), one.initializer, inputs)  # 2^90 squared: too much for float32
    slow = sampled(exact, 64, sampler="reference")
    error = np.sqrt(fast.var(0, ddof=1) / len(fast) + slow.var(0, ddof=1) / len(slow))[1:]
    assert (np.abs(fast.mean(0) - slow.mean(0))[1:] < 4 * error).all()
    without = sampled(ensemble(VarianceScaling(kappa), inputs=inputs.float(), widths=[20] * 90), 2000)
    living = without[np.isfinite(without[:, -1]), -1]
    assert abs(living.mean() - fast[:, -1].mean()) > 4 * (living.var() / len(living) + fast[:, -1].var() / 2000) ** 0.5


def test_the_torch_default_settles_where_its_biases_feed_it():
    logs = sampled(ensemble(TorchDefault(), size=50, widths=[50] * 1000), 60)
    plateaus = np.exp(logs[:, 100:]).mean(1)  # of each net: 900 layers
    error = plateaus.std(ddof=1) / len(plateaus) ** 0.5
    assert abs(plateaus.mean() - 1 / 250) < 4 * error
    assert abs(plateaus.mean() - 1 / 240) > 4 * error


def test_narrow_nets_die_as_often_as_predicted():
    widths = [3, 4, 3, 5, 2, 4, 3, 3]
    logs = sampled(ensemble(size=3, widths=widths), 20_000)
    dead, predicted = dead_share(logs)[1:], -np.expm1(log_survival(widths))
    error = np.sqrt(predicted * (1 - predicted) / len(logs))
    assert (np.abs(dead - predicted) < 4 * error).all()
    one_more = -np.expm1(log_survival(np.array(widths) + 1))
    assert (np.abs(dead - one_more) > 4 * error).all()
    isdead = np.isneginf(logs)
    assert all((isdead[:, after] >= isdead[:, before]).all() for before, after in pairwise(range(9)))


@pytest.mark.parametrize("ending", ["relu", "linear"])
def test_a_residual_net_that_explodes_stays_finite(ending):
    build = partial(Residual, 20, 2, modules=500, width=20, scales="constant", eta=1.0, ending=ending)
    logs = sampled(Ensemble(build, HE, torch.ones(1, 20)), 50)
    assert np.isfinite(logs).all()
    assert logs[:, -1].mean() > math.log(torch.finfo(torch.float32).max)
