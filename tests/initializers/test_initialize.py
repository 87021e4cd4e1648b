"""Filling a whole net: what is drawn from what, which layer is the readout, and what is left alone."""

from functools import partial

import pytest
import torch
from torch import nn

from src.initializers.initialize import initialize_, readout_of
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import VarianceScaling
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual

HE = VarianceScaling(2.0)


def without_generator(weight):
    nn.init.normal_(weight)


def with_keywords(weight, **keywords):
    nn.init.normal_(weight, **keywords)


USER_CALLABLES = {
    "a torch function": nn.init.kaiming_normal_,
    "a partial": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "without a generator": without_generator,
    "with any keyword": with_keywords,
    "a lambda": lambda weight: weight.uniform_(),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def net_of(kind="named readout"):
    if kind == "named readout":
        return FullyConnected(6, 3, depth=2, width=5)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def filled(net, initializer, seed):
    initialize_(net, initializer, generator=seeded(seed))
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.mark.parametrize("user", USER_CALLABLES.values(), ids=USER_CALLABLES.keys())
def test_a_users_callable_draws_from_the_generator_and_leaves_the_global_stream(user):
    net, before = net_of(), torch.get_rng_state()
    first = filled(net, user, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)  # wherever the global stream stands
    assert torch.equal(first, filled(net, user, 1))
    assert not torch.equal(first, filled(net, user, 2))


def test_initializers_draw_from_the_generator_and_leave_the_global_stream(initializer):
    net, before = net_of(), torch.get_rng_state()
    first = filled(net, initializer, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, filled(net, initializer, 0))
    assert not torch.equal(first, filled(net, initializer, 1))


def test_a_callable_without_a_generator_does_not_reseed_the_accelerators(monkeypatch):
    def reseeded(seed):
        raise AssertionError("every GPU's stream was replaced")

    net = net_of()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded)
    filled(net, without_generator, 0)


def test_two_layers_do_not_get_the_same_weights():
    net = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    initialize_(net, without_generator, generator=seeded(0))
    assert not torch.equal(net[0].weight, net[1].weight)


def test_a_users_callable_gets_weights_and_biases_are_zero():
    net = net_of()
    initialize_(net, lambda weight: weight.fill_(7.0), generator=seeded(0))
    for name, parameter in net.named_parameters():
        assert (parameter == (0 if name.endswith("bias") else 7)).all(), name


@pytest.mark.parametrize("kind, readout", [("named readout", "readout"), ("last layer", "4")])
def test_the_readouts_initializer_fills_the_readout_alone(kind, readout):
    net = net_of(kind)
    initialize_(net, HE, readout_initializer=lambda weight: weight.fill_(0.25), generator=seeded(0))
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert bool((module.weight == 0.25).all()) == (name == readout), name


def test_a_readout_that_is_not_the_last_layer_is_found_by_its_name():
    net = nn.Sequential()
    net.add_module("readout", nn.Linear(2, 2))
    net.add_module("auxiliary", nn.Linear(2, 2))
    assert readout_of(net) is net.readout
    assert readout_of(nn.Sequential(nn.ReLU())) is None


def test_a_readout_of_several_modules_is_its_last_layer():
    net = nn.Module()
    net.readout = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2), nn.Identity())
    net.auxiliary = nn.Linear(2, 2)
    assert readout_of(net) is net.readout[2]


def test_the_readouts_initializer_states_its_own_biases():
    net = net_of()
    initialize_(net, HE, readout_initializer=TorchDefault(), generator=seeded(0))
    assert net.readout.bias.detach().abs().min() > 0
    assert not net.hidden[0].linear.bias.any()


def test_without_one_the_readout_is_drawn_like_the_rest():
    net = FullyConnected(6, 50, depth=1, width=400)
    initialize_(net, HE, generator=seeded(0))
    assert net.readout.weight.square().mean().item() == pytest.approx(2 / 400, rel=0.05)  # 20,000 weights: ± 0.01


def test_normalization_keeps_what_its_constructor_gave_it():
    net = net_of("last layer")
    initialize_(net, lambda weight: weight.fill_(7.0), generator=seeded(0))
    assert (net[1].weight == 1).all()
    assert (net[1].bias == 0).all()


def test_a_layer_without_biases_is_filled():
    layer = nn.Linear(4, 4, bias=False)
    initialize_(layer, TorchDefault(), generator=seeded(0))
    assert 0 < layer.weight.abs().max() <= 0.5


def test_nothing_is_recorded_for_the_backward_pass():
    net = net_of()
    initialize_(net, HE, generator=seeded(0))
    assert all(parameter.requires_grad and parameter.grad_fn is None for parameter in net.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_a_mistake_that_names_the_layer(value):
    def broken(weight):
        weight.fill_(1.0)[0, 0] = value

    net = Residual(4, 2, modules=2, width=4)
    with pytest.raises(
        ValueError, match=r"^initializer = broken: .*non-finite.* residual_modules\.0\.layers\.0\.linear"
    ):
        initialize_(net, broken, generator=seeded(0))
    with pytest.raises(ValueError, match=r"^readout_initializer = broken: .* layer readout$"):
        initialize_(net, HE, readout_initializer=broken, generator=seeded(0))
