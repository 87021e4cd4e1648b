"""Advice that is followed makes a failing net healthy."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import nn

from src.diagnosis.advice import advise_fully_connected
from src.diagnosis.change import Change
from src.diagnosis.diagnose import diagnose
from src.initializers.initialize import initialize_
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import VarianceScaling
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual
from src.theory.verdict import FM1, FM2, Thresholds

HE = VarianceScaling(2.0)


def initialized(net, initializer, generator):
    initialize_(net, initializer, generator=generator)
    return net


@pytest.mark.parametrize(
    "initializer",
    [TorchDefault(), VarianceScaling(2.0, distribution="truncated_normal"), VarianceScaling(4.0)],
    ids=["default", "truncated", "twice He's"],
)
@pytest.mark.parametrize("told", [True, False], ids=["law known", "law unknown"])
def test_scaled_weights_cure_failure_mode_1(initializer, told, generator, inputs):
    net = initialized(FullyConnected(64, 10, depth=60, width=60), initializer, generator)
    diagnosis = diagnose(net, inputs, initializer=initializer if told else None)
    assert diagnosis.verdict.failure_modes == (FM1,)
    [advice] = diagnosis.advice
    advice.change.apply_(net)
    assert diagnose(net, inputs, seed=1).healthy
    Change({name: 1 / factor for name, factor in advice.change.factors.items()}).apply_(net)
    assert not diagnose(net, inputs, seed=1).healthy  # the control


def test_only_the_layers_that_are_off_are_to_be_changed(inputs):
    net = FullyConnected(64, 10, depth=40, width=60)
    law = dataclasses.replace(net.law(HE), kappas=np.array([2.0] * 20 + [0.5] * 20))
    [advice] = advise_fully_connected(law, diagnose(net, inputs, initializer=HE).measurement, Thresholds(), 0.0)
    assert advice.change.factors == {f"hidden.{layer}.linear": pytest.approx(2) for layer in range(20, 40)}
    assert "hidden.20.linear … hidden.39.linear (20 layers) by 2 (kappa 0.5 → 2)" in advice.action
    assert advice.overrides == ()


@pytest.mark.parametrize("widths", [[10] * 100, [200] * 20 + [5] * 20, [2, 2]])
def test_wider_layers_cure_failure_mode_2(widths, inputs):
    diagnosis = diagnose(FullyConnected(64, 10, widths=widths), inputs, initializer=HE)
    assert diagnosis.verdict.failure_modes == (FM2,)
    [advice] = diagnosis.advice
    assert np.sum(1 / np.array(advice.widths)) <= 1 + 1e-9
    assert all(new == old for new, old in zip(advice.widths, widths, strict=True) if old == 200)
    cured = diagnose(FullyConnected(64, 10, widths=list(advice.widths)), inputs, initializer=HE)
    assert cured.healthy
    assert cured.measured.healthy


def test_widths_are_advised_where_theory_is_silent_too(inputs):
    net = FullyConnected(64, 10, widths=[100] * 5 + [5] * 40, activation="relu")
    diagnosis = diagnose(initialized(net, HE, torch.Generator().manual_seed(0)), inputs)
    assert FM2 in diagnosis.verdict.failure_modes
    [advice] = diagnosis.advice
    first = re.match(r"Widen hidden\.(\d+)\.activation … hidden\.44\.activation \(\d\d layers\) about", advice.action)
    assert first and int(first[1]) >= 5


def test_both_failure_modes_get_advice_that_builds_on_each_other(inputs):
    diagnosis = diagnose(FullyConnected(64, 10, depth=100, width=10), inputs, initializer=TorchDefault())
    assert diagnosis.verdict.failure_modes == (FM1, FM2)
    scale, width = diagnosis.advice
    assert "still FM2" in scale.effect
    assert width.effect.endswith("healthy")
    assert scale.overrides == ("initializer=he_normal",)


def test_smaller_scales_cure_a_residual_net(inputs):
    def net(scales):
        return Residual(64, 10, modules=40, width=64, scales=scales)

    diagnosis = diagnose(net("constant"), inputs, initializer=HE)
    assert diagnosis.advice[0].overrides == ("model.scales=inverse_depth",)
    assert diagnose(net("inverse_depth"), inputs, initializer=HE).healthy


def test_a_residual_net_of_unknown_law_is_cured_by_what_was_tried(inputs):
    net = Residual(64, 10, modules=30, width=64, scales="constant")
    [advice] = diagnose(net, inputs).advice
    advice.change.apply_(net)
    assert diagnose(net, inputs, seed=1).healthy


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_other_activations_are_cured_by_what_was_tried(activation, inputs):
    net = FullyConnected(64, 10, depth=40, width=100, activation=activation)
    diagnosis = diagnose(net, inputs)
    assert diagnosis.verdict.failure_modes == (FM1,)
    [advice] = diagnosis.advice
    advice.change.apply_(net)
    assert diagnose(net, inputs, seed=1).healthy


class Tripled(nn.Module):
    """A skip connection that grows, whatever the scale of the weights beside it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, inputs):
        return 3 * inputs + nn.functional.normalize(self.linear(inputs))


def test_where_no_scale_helps_the_advice_says_so(inputs):
    diagnosis = diagnose(nn.Sequential(*(Tripled() for _ in range(12))), inputs, modules=["?", "??"])
    assert diagnosis.verdict.failure_modes == (FM1,)
    [advice] = diagnosis.advice
    assert "no scale of the weights alone" in advice.action
    assert advice.effect.endswith("still FM1")


def test_a_convolutional_net_is_cured_by_what_was_tried():
    layers = ((nn.Conv2d(3 if not j else 16, 16, 3, padding=1), nn.ReLU(inplace=True)) for j in range(20))
    net = nn.Sequential(*(module for layer in layers for module in layer))
    images = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    [advice] = diagnose(net, images, nets=5).advice
    advice.change.apply_(net)
    assert diagnose(net, images, nets=5, seed=1).healthy


def test_changes_add_up():
    both = Change({"a": 2.0, "b": 3.0}).then(Change({"b": 0.5, "c": 4.0}, zero_biases=True))
    assert dataclasses.asdict(both) == {"factors": {"a": 2.0, "b": 1.5, "c": 4.0}, "zero_biases": True}
