"""A stack shares memory with its nets, and its forward passes update their buffers."""

import copy

import pytest
import torch
from torch import nn

from start_training.replicas.forward_pass import logits_of, losses_of
from start_training.replicas.stack import Stack
from tests.replicas.nets import Averaging, Normalized, Tied

ALL = slice(0, 3)


@pytest.fixture
def nets() -> list[Tied]:
    torch.manual_seed(0)
    return [Tied() for _ in range(3)]


def same(net: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_stack_has_every_trainable_parameter_once_and_shares_memory_with_its_nets(nets):
    before, stack = copy.deepcopy(nets), Stack(nets)
    assert all(map(same, nets, before))
    named = [name for name, _ in nets[0].named_parameters() if not name.startswith("frozen")]
    assert named == list(stack.rows(ALL).parameters)
    assert stack.parameters.shape == (3, 16 + 4 + 4 + 1)
    shapes = {"frozen.weight": (3, 4, 4), "frozen.bias": (3, 4), "shift": (3, 4)}
    assert {name: tensor.shape for name, tensor in stack.rest.items()} == shapes
    stack.parameters[1] += 1
    assert torch.equal(nets[1].second.weight, before[1].first.weight + 1)
    assert torch.equal(nets[1].frozen.weight, before[1].frozen.weight) and same(nets[0], before[0])
    for row, net in enumerate(nets):
        state = stack.state_dict(row, stack.parameters, stack.rest)
        assert list(state) == list(net.state_dict())
        assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    other = stack.state_dict(0, stack.parameters + 1, stack.rest)
    assert torch.equal(other["second.weight"], nets[0].first.weight + 1)


def test_kept_nets_follow_the_stack_and_dropped_nets_keep_their_state(nets):
    stack = Stack(nets)
    dropped, kept = copy.deepcopy(nets[1]), nets[2]
    stack.keep([0, 2])
    stack.parameters += 1
    assert len(stack) == 2 and stack.nets == [nets[0], nets[2]]
    assert same(nets[1], dropped)
    assert torch.equal(kept.scale, torch.tensor(2.5))
    inputs = torch.randn(5, 4)
    assert torch.allclose(logits_of(stack, stack.rows(slice(0, 2)), inputs)[1], kept(inputs))
    [single] = logits_of(stack, stack.rows(slice(1, 2)), inputs)  # a single replica runs without vmap
    assert torch.equal(single, kept(inputs))


@pytest.mark.parametrize("kind", [Normalized, Averaging])
def test_buffers_changed_or_replaced_in_a_pass_belong_to_each_replica(kind):
    torch.manual_seed(0)
    nets = [kind(6, 3) for _ in range(3)]
    references, stack = copy.deepcopy(nets), Stack(nets)
    for replicas in (ALL, slice(0, 1), slice(1, 3)):
        inputs = torch.randn(3, 8, 6)[replicas]
        targets = torch.zeros(len(inputs), 8, dtype=torch.int64)
        losses_of(stack, stack.rows(replicas), inputs, targets, shared=False)
        for net, batch in zip(references[replicas], inputs, strict=True):
            net(batch)
    for row, net in enumerate(references):
        state = stack.state_dict(row, stack.parameters, stack.rest)
        for name, buffer in net.named_buffers():
            torch.testing.assert_close(state[name], buffer)
            torch.testing.assert_close(nets[row].get_buffer(name), buffer)
    name = next(iter(stack.rest))
    assert not torch.allclose(stack.rest[name][0], stack.rest[name][1])


def test_nets_that_cannot_be_stacked_are_refused():
    mixed, frozen = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), nn.Linear(2, 2).requires_grad_(False)
    for net, mistake in ((mixed, "model: several dtypes or devices"), (frozen, "model: no trainable parameters")):
        with pytest.raises(ValueError, match=mistake):
            Stack([net, copy.deepcopy(net)])
