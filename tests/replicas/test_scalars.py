"""Numbers that differ between nets are found where they stand; anything else that differs is refused by name."""

import numpy as np
import pytest
import torch
from torch import nn

from src.models.residual import Residual
from src.replicas.scalars import Place, place_in, varying_scalars


def net(**attributes: object) -> nn.Module:
    made = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    for name, value in attributes.items():
        setattr(made[0], name, value)
    return made


def residual(eta: float) -> Residual:
    return Residual(4, 2, modules=2, width=4, scales="constant", eta=eta)


def test_the_scales_of_residual_nets_are_found():
    found = varying_scalars([residual(1.0), residual(0.5)])
    modules = {place.name: values for place, values in found.items() if place.attribute == "eta"}
    assert modules == {f"residual_modules.{index}": [1.0, 0.5] for index in range(2)}


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({}, {}, {}),
        ({"gain": 1.0}, {"gain": 1.0}, {}),
        ({"gain": 1.0}, {"gain": 2}, {Place("0", "gain"): [1.0, 2.0]}),
        ({"gains": [1.0, 2.0]}, {"gains": [1.0, 3.0]},
         {Place("0", "gains", 0): [1.0, 1.0], Place("0", "gains", 1): [2.0, 3.0]}),
        ({"names": ("a", {"b": torch.ones(2)})}, {"names": ("a", {"b": torch.ones(2)})}, {}),
    ],
)  # fmt: skip
def test_numbers_are_found_where_they_stand(first, second, found):
    assert varying_scalars([net(**first), net(**second)]) == found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"it": "a"}, {"it": "b"}),
        ({"it": True}, {"it": False}),
        ({"it": torch.ones(2)}, {"it": torch.zeros(2)}),
        ({"it": [1.0]}, {"it": [1.0, 2.0]}),
        ({"it": [1.0, "a"]}, {"it": [2.0, "a"]}),
        ({"it": (1.0,)}, {"it": (2.0,)}),
        ({"it": {"a": 1.0}}, {"it": {"a": 2.0}}),
        ({"it": 1.0}, {}),
    ],
)
def test_what_is_more_than_a_number_is_refused_by_name(first, second):
    with pytest.raises(ValueError, match=r"model: the nets of a group differ in 0\.it, which is more than a number"):
        varying_scalars([net(**first), net(**second)])


def test_an_attribute_that_only_a_later_net_has_is_refused():
    with pytest.raises(ValueError, match=r"differ in 0\.it"):
        varying_scalars([net(), net(it=1.0)])


def test_a_number_is_put_in_its_place_and_back():
    made = net(gain=1.0, gains=[1.0, 2.0])
    assert place_in(made, Place("0", "gain"), 3.0) == 1.0
    assert place_in(made, Place("0", "gains", 1), 4.0) == 2.0
    assert (made[0].gain, made[0].gains) == (3.0, [1.0, 4.0])


def test_modules_of_other_classes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"differ in 1, which is more than a number"):
        varying_scalars([net(), nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())])


def test_arrays_and_what_a_module_refers_to_itself_are_compared():
    nets = [nn.ModuleDict({"memory": nn.LSTM(2, 3)}) for _ in range(2)]  # it holds weak references to its weights
    for net in nets:
        net.scale = np.ones(3)
    assert varying_scalars(nets) == {}
    nets[1].scale = np.zeros(3)
    with pytest.raises(ValueError, match=r"scale, which is more than a number"):
        varying_scalars(nets)
