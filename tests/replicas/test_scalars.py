"""Numbers that differ between nets are found with their place; other attributes that differ are refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from start_training.models.residual import Residual
from start_training.replicas.scalars import Place, swap_value, varying_scalars

NOTHING = object()


def net(it: object = NOTHING) -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    if it is not NOTHING:
        made[0].it = it
    return made


def test_different_scales_of_residual_nets_are_found():
    varying = varying_scalars([Residual(4, 2, modules=2, width=4, scales="constant", eta=eta) for eta in (1.0, 0.5)])
    modules = {place.name: values for place, values in varying.items() if place.attribute == "eta"}
    assert modules == {f"residual_modules.{index}": [1.0, 0.5] for index in range(2)}


def test_numbers_that_differ_are_found_with_their_place():
    alike = ("a", {"b": torch.ones(2)})
    for first, second, varying in (
        (NOTHING, NOTHING, {}),
        (1.0, 1.0, {}),
        (1.0, 2.0, {None: [1.0, 2.0]}),
        ([1.0, 2], [1.0, 3], {0: [1.0, 1.0], 1: [2.0, 3.0]}),
        (alike, copy.deepcopy(alike), {}),
        (np.ones(3), np.ones(3), {}),
    ):
        places = {Place("0", "it", entry): values for entry, values in varying.items()}
        assert varying_scalars([net(first), net(second)]) == places


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "b"), (True, False), (torch.ones(2), torch.zeros(2)), (np.ones(2), np.zeros(2)), ([1.0], [1.0, 2.0]),
     ([1.0, "a"], [2.0, "a"]), ((1.0,), (2.0,)), ({"a": 1.0}, {"a": 2.0}), ({"a": 1}, {"b": 1}), (1.0, NOTHING),
     (NOTHING, 1.0), ((1.0,), (1.0, 2.0)), (nn.Identity(), nn.Identity)],
)  # fmt: skip
def test_attributes_other_than_numbers_that_differ_are_refused_by_name(first, second):
    with pytest.raises(
        ValueError,
        match=r"model: the nets of a group differ in 0(\.it)?; only parameters, buffers and numbers may differ",
    ):
        varying_scalars([net(first), net(second)])


def test_a_value_is_swapped():
    made = net([1.0, 2.0])
    made[0].gain = 1.0
    assert swap_value(made, Place("0", "gain"), 3.0) == 1.0
    assert swap_value(made, Place("0", "it", 1), 4.0) == 2.0
    assert (made[0].gain, made[0].it) == (3.0, [1.0, 4.0])


def test_modules_of_different_classes_are_refused_and_weak_references_are_not_compared():
    with pytest.raises(ValueError, match=r"differ in 1; only parameters, buffers and numbers may differ"):
        varying_scalars([net(), nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())])
    nets = [nn.ModuleDict({"memory": nn.LSTM(2, 3)}) for _ in range(2)]  # LSTM has weak references to its weights
    assert varying_scalars(nets) == {}
    nets[1].scale = 1.0
    with pytest.raises(ValueError, match=r"differ in scale; only parameters, buffers and numbers may differ"):
        varying_scalars(nets)
