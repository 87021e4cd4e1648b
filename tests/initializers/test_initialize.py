"""Initialization of a whole net: its generator, its readout, and modules that are not changed."""

from functools import partial

import pytest
import torch
from torch import nn

from start_training.initializers.drawing import accepts_generator, fill_biases_, fill_many_
from start_training.initializers.initialize import initialize_
from start_training.initializers.initializer import Fans
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.initializers.weights import readout_of, weights_of
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual

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


def net_of(kind="readout"):
    if kind == "readout":
        return FullyConnected(6, 3, depth=2, width=5)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def filled(net, initializer, seed):
    initialize_(net, initializer, generator=seeded(seed))
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.mark.parametrize("filling", [*USER_CALLABLES.values(), HE, Orthogonal(), TorchDefault()])
def test_weights_are_drawn_from_the_generator_and_the_global_generator_is_restored(filling):
    net, before = net_of(), torch.get_rng_state()
    first = filled(net, filling, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)  # the state of the global generator must not matter
    assert torch.equal(first, filled(net, filling, 1))
    assert not torch.equal(first, filled(net, filling, 2))


def test_a_callable_without_a_generator_does_not_reseed_the_accelerators(monkeypatch):
    def reseeded(seed):
        raise AssertionError("every GPU's stream was replaced")

    net = net_of()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded)
    filled(net, without_generator, 0)


def test_a_users_function_fills_weights_and_biases_are_zero():
    net = net_of()
    initialize_(net, lambda weight: weight.fill_(7.0), generator=seeded(0))
    for name, parameter in net.named_parameters():
        assert (parameter == (0 if name.endswith("bias") else 7)).all(), name
    initialize_(net, without_generator, generator=seeded(0))
    assert not torch.equal(net.hidden[1].linear.weight[:, :3], net.readout.weight.T)  # one random stream for all


def test_filling_many_layers_at_once_equals_filling_them_one_by_one():
    one_by_one, at_once, generator = torch.empty(3, 4, 5), torch.empty(3, 4, 5), seeded(0)
    for weight in one_by_one:
        initialize_(layer := nn.Linear(5, 4), without_generator, generator=generator)
        weight.copy_(layer.weight.detach())
    fill_many_(at_once, without_generator, seeded(0))
    assert torch.equal(one_by_one, at_once)
    fill_many_(at_once, HE, seeded(0))
    expected = torch.empty(3, 4, 5)
    HE.fill_many_(expected, seeded(0))
    assert torch.equal(expected, at_once)
    biases = torch.ones(3, 4)
    fill_biases_(biases, Fans(5, 4), TorchDefault(), seeded(0))
    assert 0 < biases.abs().max() <= 5**-0.5
    fill_biases_(biases, Fans(5, 4), without_generator, seeded(0))
    assert not biases.any()


def test_functions_with_a_parameter_generator_accept_one():
    safe = {name: accepts_generator(user) for name, user in USER_CALLABLES.items()}
    unsafe = {"without a generator", "a lambda"}
    assert safe == {name: name not in unsafe for name in USER_CALLABLES}
    assert accepts_generator(HE)


@pytest.mark.parametrize("readout", ["readout", "4"])
def test_the_readout_initializer_fills_only_the_readout(readout):
    net = net_of(readout)
    initialize_(net, HE, readout_initializer=lambda weight: weight.fill_(0.25), generator=seeded(0))
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert bool((module.weight == 0.25).all()) == (name == readout), name
    initialize_(net, HE, readout_initializer=TorchDefault(), generator=seeded(0))
    biases = [weight.bias_parameter.detach() for weight in weights_of(net)]
    assert biases[-1].abs().min() > 0 and not torch.cat(biases[:-1]).any()  # TorchDefault draws biases


def test_the_readout_is_the_last_layer_of_the_module_readout_or_of_the_net():
    net = nn.Module()
    net.readout = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2), nn.Identity())
    net.auxiliary = nn.Linear(2, 2)
    assert readout_of(net) is net.readout[2]
    net.readout = None
    assert readout_of(net) is net.auxiliary
    assert readout_of(nn.Sequential(nn.ReLU())) is None


def test_normalization_is_not_changed_and_layers_may_have_no_biases():
    net, layer = net_of("4"), nn.Linear(4, 4, bias=False)
    initialize_(net, lambda weight: weight.fill_(7.0), generator=seeded(0))
    assert (net[1].weight == 1).all() and (net[1].bias == 0).all()
    initialize_(layer, TorchDefault(), generator=seeded(0))
    assert 0 < layer.weight.abs().max() <= 0.5
    assert all(p.requires_grad and p.grad_fn is None for p in (*net.parameters(), *layer.parameters()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_an_error_that_names_the_layer(value):
    def broken(weight):
        weight.fill_(1.0)[0, 0] = value

    net = Residual(4, 2, modules=2, width=4)
    with pytest.raises(
        ValueError, match=r"^initializer = broken: .*non-finite.* residual_modules\.0\.layers\.0\.linear"
    ):
        initialize_(net, broken, generator=seeded(0))
    with pytest.raises(ValueError, match=r"^readout_initializer = broken: .* layer readout$"):
        initialize_(net, HE, readout_initializer=broken, generator=seeded(0))
