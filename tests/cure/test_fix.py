"""Tests of `fix_`: what is sick is mended for the reason that it is sick, and all else stays as it was."""

import copy
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from start_training import fix_
from start_training.cure.cure import Cure, Tried

CLASSES = 4
quick = partial(fix_, nets=2, optimizer="adam")


@pytest.fixture(scope="module")
def batch():
    inputs = torch.randn(64, 16, generator=torch.Generator().manual_seed(100))
    return inputs, inputs[:, :CLASSES].argmax(1)


def dense(depth, activation=nn.ReLU, width=32, gain=2.0):
    """A fully connected net with zero biases; He's weights unless another kappa is given."""
    torch.manual_seed(0)
    layers = [part for pair in pairwise([16, *[width] * depth]) for part in (nn.Linear(*pair), activation())]
    net = nn.Sequential(*layers, nn.Linear(width, CLASSES))
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(gain / module.in_features) ** 0.5)
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        net[-1].weight.mul_(0.5)
    return net


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def changed(before, net):
    return {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}


def filled(net, name, value):
    with torch.no_grad():
        net.get_parameter(name).fill_(value)
    return net


def poisoned(net, name):
    with torch.no_grad():
        net.get_parameter(name).view(-1)[3] = float("nan")
    return net


def scaled(net, name, factor):
    with torch.no_grad():
        net.get_parameter(name).mul_(factor)
    return net


@pytest.mark.parametrize(
    ("sick", "touched", "words"),
    [
        (lambda: poisoned(dense(3), "2.weight"), {"2.weight"}, "infinite or NaN"),
        (lambda: filled(dense(4), "4.bias", -20.0), {"4.bias"}, "biases of 4"),
        (lambda: filled(filled(dense(3), "4.weight", 0.05), "6.weight", 0.05), {"4.weight"}, "equal units"),
        (lambda: scaled(dense(10), "10.weight", 1e4), {"10.weight"}, "unlike the others"),
        (lambda: scaled(dense(3), "6.weight", 1e3), {"6.weight"}, "multiplied the weights of 6"),
    ],
    ids=["nan", "dead bias", "equal units", "outlying layer", "readout"],
)
def test_a_single_fault_is_mended_where_it_is(batch, sick, touched, words):
    net = sick()
    before = state(net)
    cure = quick(net, batch)
    assert (cure.before.healthy, cure.after.healthy) == (False, True)
    assert words in cure.change
    assert changed(before, net) == touched


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_a_deep_net_with_too_small_weights_is_scaled(batch, activation):
    net = dense(20, activation, gain=0.1)
    cure = quick(net, batch)
    assert (cure.before.starts["adam"].answer, cure.after.starts["adam"].answer) == ("no", "yes")
    assert abs(cure.after.measured.drift) < 0.2 * abs(cure.before.measured.drift)


def test_a_healthy_net_is_left_alone(batch):
    net = dense(3)
    before, stream = state(net), torch.get_rng_state()
    cure = quick(net, batch)
    assert not changed(before, net)
    assert (cure.changed, cure.tried, cure.after) == (False, (), cure.before)
    assert "healthy" in str(cure)
    assert torch.equal(stream, torch.get_rng_state())


def test_a_net_that_no_weights_can_mend_is_not_changed_and_the_result_says_so(batch):
    net = dense(3).requires_grad_(False)
    before = state(net)
    cure = quick(net, batch)
    assert not changed(before, net) and not cure.changed
    assert "nothing was changed" in str(cure)


def test_the_same_seed_gives_the_same_net_and_frozen_parameters_stay(batch):
    nets = []
    for _ in range(2):
        net = dense(20, nn.Tanh, gain=0.1)
        net[0].requires_grad_(False)
        frozen = copy.deepcopy(net[0].state_dict())
        quick(net, batch)
        assert all(torch.equal(tensor, frozen[name]) for name, tensor in net[0].state_dict().items())
        nets.append(net)
    assert not changed(state(nets[0]), nets[1])


def test_parametrized_weights_are_written_through_what_computes_them(batch):
    net = dense(20, gain=0.1)
    for module in net:
        if isinstance(module, nn.Linear):
            nn.utils.parametrizations.weight_norm(module)
    cure = quick(net, batch)
    assert cure.after.healthy and cure.changed
    with torch.no_grad():
        assert net(batch[0]).std() > 0.05


class Reader(nn.Module):
    def __init__(self, kind, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.readout = kind(8, 16, batch_first=True, **settings), nn.Linear(16, CLASSES)

    def forward(self, inputs):
        return self.readout(self.cell(inputs)[0][:, -1])


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU])
def test_recurrent_weights_that_explode_are_drawn_anew(kind):
    inputs = torch.randn(64, 40, 8, generator=torch.Generator().manual_seed(1))
    net = Reader(kind)
    scaled(net, "cell.weight_hh_l0", 10.0)
    cure = quick(net, inputs, targets=inputs[:, -3:, :CLASSES].sum(1).argmax(1))
    assert [one.defect for one in cure.before.defects] and not [one.defect for one in cure.after.defects]


def test_a_loader_is_drawn_from_once_and_an_optimizer_of_the_net_may_be_given(batch):
    net = dense(20, nn.Tanh, gain=0.1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch), 32, shuffle=True)
    with torch.random.fork_rng():
        cure = fix_(net, loader, nets=2, optimizer=torch.optim.Adam(net.parameters(), 1e-3))
    assert cure.changed and cure.after.starts["adam"].answer == "yes"


@pytest.mark.parametrize(("count", "words"), [(1, "tried on 1 copy: SICK → SICK"), (2, "tried on 2 copies: SICK → ")])
def test_one_copy_is_no_plural(count, words):
    diagnosis = SimpleNamespace(verdict="SICK", measured=SimpleNamespace(drift=-1.0), trials=(), healthy=False)
    assert f"({words}" in Cure(diagnosis, diagnosis, (Tried("scaled", "", kept=True),) * count).sentence
