"""The nets of the zoo are what their names, ways and defects say; none of these tests uses the diagnosis."""

from collections import Counter
from hashlib import sha256

import pytest
import torch

from tests.zoo import nets
from tests.zoo.net import DEFECTS, WAYS
from tests.zoo.nets import FAMILIES, NETS, drawn, held_out

FAR = 10  # times chance: a loss at initialization above is that of a readout that is far from chance


@pytest.mark.parametrize("family", FAMILIES)
def test_each_net_is_built_as_its_defects_say(family):
    for net in (net for net in NETS.values() if net.family == family):
        module = net.make(0)
        inputs, targets = net.task.batch(8, 3)
        loss = net.task.loss(module(*inputs), targets)
        chance = net.task.chance(targets)
        if loss.requires_grad:
            loss.backward()
        parameters = list(module.parameters())
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [parameter.grad for parameter in trainable]
        assert chance > 0, net.name
        assert sum(parameter.numel() for parameter in parameters) < 500_000, net.name
        assert (not loss.isfinite()) == ("not_finite" in net.defects), net.name
        assert bool(loss > FAR * chance) == ("readout" in net.defects), net.name
        assert (None in gradients) == ("detached" in net.defects), net.name
        assert (not trainable) == ("frozen" in net.ways), net.name
        if net.healthy:
            assert all(gradient.isfinite().all() for gradient in gradients), net.name
            assert any(gradient.any() for gradient in gradients), net.name


@pytest.mark.parametrize("net", [net for net in NETS.values() if net.family == "recurrent"], ids=lambda net: net.name)
def test_gradients_are_lost_in_time_where_the_defects_say_so(net):
    (inputs,), targets = net.task.batch(8, 3)
    loss = net.task.loss(net.make(0)(inputs.requires_grad_()), targets)
    if {"dead", "not_finite", "no_gradient"} & {*net.defects}:
        return
    loss.backward()
    norms = inputs.grad.double().norm(dim=(0, 2))
    share = float(norms[0] / norms[-1])
    assert (share < 1e-8) == ("lost_in_time" in net.defects), share
    assert (share > 1e3) == ("explodes_in_time" in net.defects), share


TOKENWISE = ("transformers", "decoders", "encoder_decoders", "graphs")


@pytest.mark.parametrize("family", TOKENWISE)
def test_tokens_are_alike_where_the_defects_say_so(family):
    """By the mean cosine between the tokens or nodes of a sample, at the readout."""
    for net in (net for net in NETS.values() if net.family == family and not {"dead", "not_finite"} & {*net.defects}):
        module, seen = net.make(0), []
        (readout,) = (part.readout for part in module.modules() if hasattr(part, "readout"))
        readout.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].detach().float()))
        with torch.no_grad():
            module(*net.task.batch(8, 3)[0])
        tokens = torch.nn.functional.normalize(seen[0], dim=-1)
        count = tokens.shape[1]
        cosine = float(((tokens @ tokens.mT).sum((1, 2)) - count).mean()) / (count**2 - count)
        assert (cosine > 0.99) == ("rank_collapse" in net.defects), (net.name, cosine)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (NETS["resnet_8"].make(seed).state_dict()["0.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_there_are_enough_nets_families_and_ways():
    assert sum(len(family.NETS) for family in nets._FAMILIES) == len(NETS) >= 80  # else a name is used twice
    assert len(FAMILIES) >= 12
    assert {way for net in NETS.values() for way in net.ways} == {*WAYS}
    assert len(WAYS) >= 20
    assert {defect for net in NETS.values() for defect in net.defects} == {*DEFECTS}
    assert len({net.task.name for net in NETS.values()}) == len({id(net.task) for net in NETS.values()})
    for family in FAMILIES:
        kinds = Counter(net.healthy for net in NETS.values() if net.family == family)
        assert kinds[True] >= 3, family
        assert kinds[False] >= 3, family


def test_a_third_of_each_family_is_held_out():
    apart = held_out()
    assert len(apart) == round(len(NETS) / 3)
    for family in FAMILIES:
        names = [net.name for net in NETS.values() if net.family == family]
        assert abs(len(apart & {*names}) - len(names) / 3) <= 1, family
    assert apart == held_out()
    assert {net.name for net in drawn(NETS.values(), 1 / 3, 0)} != apart
    assert {net.name for net in drawn(reversed(NETS.values()), 1 / 3, nets.HELD_OUT_SEED)} == apart


def test_the_held_out_third_is_the_one_that_was_drawn_when_the_labels_were_committed():
    """A net that is added, removed or renamed later draws again: then the reports have to say so."""
    assert sha256(" ".join(sorted(held_out())).encode()).hexdigest()[:16] == "4501b78caeb31eab"
