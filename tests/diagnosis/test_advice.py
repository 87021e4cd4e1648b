"""Tests that a failing net becomes healthy when the advice is followed."""

import dataclasses
import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from start_training.diagnosis.advice import advise_fully_connected, advise_residual, advise_widths
from start_training.diagnosis.change import Change
from start_training.diagnosis.diagnose import diagnose
from start_training.diagnosis.scale_search import step
from start_training.initializers.initialize import initialize_
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.theory.verdict import FM1, FM2, Thresholds

HE = VarianceScaling(2.0)
by_lengths = partial(diagnose, trial=False, optimizer="sgd")  # the laws of this project are about lengths alone


def initialized(net, initializer):
    initialize_(net, initializer, generator=torch.Generator().manual_seed(0))
    return net


@pytest.fixture
def measured(inputs):
    return by_lengths(FullyConnected(64, 10, depth=40, width=60), inputs, initializer=HE, nets=2).measurement


@pytest.mark.parametrize(
    ("initializer", "known"),
    [
        (TorchDefault(), True),
        pytest.param(TorchDefault(), False, marks=pytest.mark.slow),
        pytest.param(VarianceScaling(4.0), False, marks=pytest.mark.slow),
    ],
)
def test_scaled_weights_cure_failure_mode_1(initializer, known, inputs):
    net = initialized(FullyConnected(64, 10, depth=60, width=60), initializer)
    diagnosis = by_lengths(net, inputs, initializer=initializer if known else None)
    assert diagnosis.failure_modes == (FM1,)
    [advice] = diagnosis.advice
    advice.change.apply_(net)
    assert by_lengths(net, inputs, seed=1).healthy
    Change({name: 1 / factor for name, factor in advice.change.factors.items()}).apply_(net)
    assert not by_lengths(net, inputs, seed=1).healthy  # the control


@pytest.mark.parametrize(("off", "changed"), [(1.01, True), (0.99, False)])
def test_only_layers_that_are_not_critical_are_changed(measured, off, changed):
    """A layer is not critical if log kappa is off by more than its part of the threshold, 9.2 nats over 40 layers."""
    kappas = np.array([2.0] * 15 + [2 * math.exp(off * 9.2 / 40)] * 5 + [0.5] * 20)
    law = dataclasses.replace(FullyConnected(64, 10, depth=40, width=60).law(HE), kappas=kappas)
    [advice] = advise_fully_connected(law, measured, Thresholds(), 0.0)
    expected = {f"hidden.{layer}.linear": pytest.approx(2) for layer in range(20, 40)}
    if changed:
        expected |= {f"hidden.{layer}.linear": pytest.approx(math.exp(-off * 9.2 / 80)) for layer in range(15, 20)}
    assert advice.change.factors == expected
    assert ("hidden.20.linear … hidden.39.linear (20 layers) by 2 (kappa 0.5 → 2)" in advice.action) != changed
    assert advice.overrides == () and not advice.change.zero_biases


@pytest.mark.parametrize(
    ("widths", "least", "share"),
    [
        pytest.param([10] * 100, 100, "10 to beta = 10", marks=pytest.mark.slow),
        ([200] * 20 + [5] * 20, 23, "4 to beta = 4.1"),
    ],
)
def test_wider_layers_cure_failure_mode_2_and_no_wider_than_needed(widths, least, share, inputs):
    diagnosis = by_lengths(FullyConnected(64, 10, widths=widths), inputs, initializer=HE)
    assert diagnosis.failure_modes == (FM2,)
    [advice] = diagnosis.advice
    assert advice.widths == tuple(max(width, least) for width in widths)
    assert f"{sum(width < least for width in widths)} of {len(widths)} hidden layers from " in advice.action
    assert advice.action.endswith(f" to {least} units (they contribute {share})")
    cured = by_lengths(FullyConnected(64, 10, widths=list(advice.widths)), inputs, initializer=HE)
    assert cured.healthy and cured.measured.healthy
    even = ("model.widths=null", f"model.depth={len(widths)}", f"model.width={least}")
    uneven = (f"model.widths=[{','.join(map(str, advice.widths))}]",)
    assert advice.overrides == (even if len(set(widths)) == 1 else uneven)


def test_nets_that_die_are_widened_until_few_of_them_die(inputs):
    [advice] = by_lengths(FullyConnected(64, 10, widths=[2, 2]), inputs, initializer=HE).advice
    widths = advice.widths[0]
    assert advice.widths == (widths, widths)
    assert by_lengths(FullyConnected(64, 10, widths=[widths] * 2), inputs, initializer=HE).healthy
    assert not by_lengths(FullyConnected(64, 10, widths=[widths - 1] * 2), inputs, initializer=HE).healthy


def test_widths_are_advised_for_nets_of_unknown_law_too(measured):
    spread = np.where(np.arange(40) < 4, 1.0, 0.2 / 36)  # limited to 0.2 each, they sum to 1
    advice = advise_widths(dataclasses.replace(measured, spread=spread), Thresholds())
    assert "(4 layers) by about 5 (the lengths of each now vary over nets like those of a layer of 1 to 1 units)" in (
        advice.action
    )
    assert advice.effect == (
        "spread proportional to 1/width: from 4.2 to 1; standard deviation of log M_d over nets about 2.2 nats"
    )
    silent = advise_widths(dataclasses.replace(measured, spread=np.full(40, 1 / 40)), Thresholds())
    assert silent.effect == "not predicted; the spread of 1 is within its threshold"


def test_advice_for_failure_mode_2_assumes_that_advice_for_failure_mode_1_is_followed(inputs):
    diagnosis = by_lengths(FullyConnected(64, 10, depth=100, width=10), inputs, initializer=TorchDefault())
    assert diagnosis.failure_modes == (FM1, FM2)
    scale, width = diagnosis.advice
    assert "still FM2" in scale.effect and width.effect.endswith("healthy")
    assert scale.overrides == ("initializer=he_normal",)


@pytest.mark.slow
def test_smaller_scales_cure_a_residual_net_then_critical_weights_then_width(inputs):
    net = Residual(64, 10, modules=30, width=64, scales="constant")
    diagnosis = by_lengths(net, inputs, initializer=HE)
    [advice] = diagnosis.advice
    assert "by eta = 1/30, so that the sum of all eta is 1 instead of 30" in advice.action
    assert advice.effect.endswith("healthy; E[M_L] / M_0 = ×1.38")
    assert advice.overrides == ("model.scales=inverse_depth",)
    [tried] = by_lengths(net, inputs).advice  # the law is unknown without an initializer
    tried.change.apply_(net)
    assert by_lengths(net, inputs, seed=1).healthy
    law = Residual(64, 10, modules=3, width=2, module_widths=[2], scales="constant").law(VarianceScaling(1e6))
    scales, weights, width = advise_residual(law, Thresholds(beta=0.02), 0.0)
    assert "still FM1" in scales.effect and "still FM2" in weights.effect
    assert "kappa 2 instead of 1e+06" in weights.action
    times = int(re.search(r"every layer by (\d+)$", width.action)[1])
    assert width.overrides == (f"model.width={2 * times}", f"model.module_widths=[{2 * times}]")
    assert "healthy" in width.effect and math.log2(times).is_integer()


class Tripled(nn.Module):
    """A layer with a skip connection of factor 3, so that lengths grow at any scale of its weights."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, inputs):
        return 3 * inputs + nn.functional.normalize(self.linear(inputs))


def test_the_advice_says_if_rescaling_the_weights_does_not_help(inputs):
    diagnosis = by_lengths(nn.Sequential(*(Tripled() for _ in range(12))), inputs, nets=3, modules=["?", "??"])
    assert diagnosis.failure_modes == (FM1,)
    [advice] = diagnosis.advice
    assert "Mend it by fix_" in advice.action
    assert "tried on copies" in advice.effect and advice.effect.endswith("still FM1")


def test_a_convolutional_net_is_cured_by_the_tried_change():
    layers = ((nn.Conv2d(3 if not j else 16, 16, 3, padding=1), nn.ReLU(inplace=True)) for j in range(20))
    net = nn.Sequential(*(module for layer in layers for module in layer))
    images = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    [advice] = by_lengths(net, images, nets=4).advice
    advice.change.apply_(net)
    assert by_lengths(net, images, nets=4, seed=1).healthy


def test_a_step_rescales_the_weights_that_feed_each_layer_after_the_onset_of_the_drift(measured):
    feeds = (*measured.feeds[:31], *(("a", "b"),) * 10)
    late = dataclasses.replace(measured, feeds=feeds)
    late.forward.log[:], late.backward.log[:] = np.where(np.arange(40) < 30, 0.0, 1.2), 0.0
    verdict = late.verdict(Thresholds())
    assert (verdict.failure_modes, verdict.starts) == ((FM1,), 30)
    assert step(late, verdict) == Change({"a": pytest.approx(math.exp(-0.3)), "b": pytest.approx(math.exp(-0.3))})
    for back, zero_biases in ((-1.2, True), (1.2, False)):
        late.forward.log[:], late.backward.log[:] = -0.01, back
        change = step(late, late.verdict(Thresholds()))
        assert change.factors["hidden.3.linear"] == pytest.approx(math.exp(-back / 2))
        assert change.zero_biases == zero_biases


def test_two_changes_combine_to_one():
    both = Change({"a": 2.0, "b": 3.0}).then(Change({"b": 0.5, "c": 4.0}, zero_biases=True))
    assert dataclasses.asdict(both) == {"factors": {"a": 2.0, "b": 1.5, "c": 4.0}, "zero_biases": True}


def test_a_change_multiplies_every_weight_of_a_layer_once_through_what_computes_it():
    normed, shared, lstm = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4), nn.LSTM(4, 4)
    net = nn.Sequential(normed, shared, nn.Linear(4, 4), lstm)
    net[2].weight = shared.weight
    before = [normed.weight.detach().clone(), shared.weight.detach().clone(), lstm.weight_hh_l0.detach().clone()]
    Change(dict.fromkeys("0123", 3.0), zero_biases=True).apply_(net)
    for values, weight in zip(before, (normed.weight, shared.weight, lstm.weight_hh_l0), strict=True):
        assert torch.allclose(weight, 3 * values)
    assert not any(value.any() for name, value in net.named_parameters() if "bias" in name)


def test_frozen_layers_of_a_diagnosed_net_are_not_drawn_and_lazy_ones_are():
    layers = [nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.LazyLinear(3)]
    net = nn.Sequential(*layers)
    nn.init.constant_(net[2].weight, 100.0)
    net[2].requires_grad_(False)
    batch = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    drawn = by_lengths(net, batch, initializer=HE).measurement.lengths[:, 2].mean()
    assert drawn > 1e3 and type(net[4]) is nn.LazyLinear
    net[2].requires_grad_(True)
    assert by_lengths(net, batch, initializer=HE).measurement.lengths[:, 2].mean() < 100
