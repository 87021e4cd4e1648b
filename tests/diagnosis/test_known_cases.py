"""Tests of `diagnose` on nets whose verdict is known, with and without theory."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from start_training.diagnosis.diagnose import diagnose
from start_training.initializers.initialize import initialize_
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual
from start_training.theory.verdict import FM1, FM2, Thresholds

HE = VarianceScaling(2.0)
by_lengths = partial(diagnose, trial=False, optimizer="sgd")  # the laws of this project are about lengths alone
TRUNCATED = VarianceScaling(2.0, distribution="truncated_normal")


def dense(depth, width, **settings):
    return FullyConnected(64, 10, depth=depth, width=width, **settings)


def residual(modules, scales):
    return Residual(64, 10, modules=modules, width=64, scales=scales)


# Over seeds 0 … 19 the measurement without theory was right in all of these cases with 5 or 10 nets.
CASES = {
    "PyTorch's default": (dense(20, 100), TorchDefault(), (FM1,)),
    "narrow": (dense(100, 10), HE, (FM2,)),
    "width = depth": (dense(30, 30), HE, ()),
    "truncated": (dense(60, 60), TRUNCATED, (FM1,)),
    "twice He's": (dense(50, 50), VarianceScaling(4.0), (FM1,)),
    "eta = 1": (residual(30, "constant"), HE, (FM1,)),
    "0.9^l": (residual(50, "geometric"), HE, ()),
    "1/L": (residual(50, "inverse_depth"), HE, ()),
}


@pytest.mark.parametrize(("net", "initializer", "modes"), CASES.values(), ids=CASES)
def test_theory_and_measurement_give_the_known_verdict(net, initializer, modes, inputs):
    diagnosis = by_lengths(net, inputs, initializer=initializer)
    assert diagnosis.predicted.failure_modes == modes
    assert diagnosis.measured.failure_modes == modes
    assert diagnosis.healthy == (not modes)
    assert bool(diagnosis.advice) == bool(modes)


def test_three_nets_distinguish_a_narrow_net_from_one_whose_lengths_shrink(inputs):
    for seed in range(2):
        assert by_lengths(dense(100, 10), inputs, initializer=HE, nets=3, seed=seed).measured.failure_modes == (FM2,)
        shrinking = VarianceScaling(1.4)  # the control: −0.36 nats a layer
        modes = by_lengths(dense(100, 10), inputs, initializer=shrinking, nets=3, seed=seed).measured.failure_modes
        assert modes == (FM1, FM2)


@pytest.mark.parametrize(
    ("initializer", "depth", "width", "modes"),
    [(HE, 50, 50, ()), (HE, 100, 10, (FM2,)), (TRUNCATED, 60, 60, (FM1,)), (TorchDefault(), 20, 100, (FM1,))],
    ids=["He", "narrow", "truncated", "default"],
)
def test_redrawing_given_weights_gives_the_verdict_of_their_law(initializer, depth, width, modes, inputs):
    net = dense(depth, width)
    initialize_(net, initializer, generator=torch.Generator().manual_seed(1))
    diagnosis = by_lengths(net, inputs, seed=1)
    assert diagnosis.predicted is None
    assert diagnosis.failure_modes == modes


def test_the_verdict_depends_on_the_thresholds(inputs):
    strict = by_lengths(dense(20, 20), inputs, initializer=HE, thresholds=Thresholds(beta=0.5))
    assert strict.failure_modes == (FM2,)
    assert by_lengths(dense(20, 100), inputs, initializer=TorchDefault(), thresholds=Thresholds(drift=50)).healthy
    settling = by_lengths(residual(100, "geometric"), inputs, initializer=HE, thresholds=Thresholds(drift=5))
    assert settling.healthy and settling.predicted.settles and settling.predicted.total > 8


@pytest.mark.parametrize(("depth", "healthy"), [(30, True), (80, False)])
def test_batch_normalization_makes_gradients_grow_and_has_a_larger_threshold(depth, healthy, inputs):
    layers = [(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(inplace=True)) for _ in range(depth)]
    diagnosis = by_lengths(nn.Sequential(*(module for layer in layers for module in layer)), inputs, nets=4)
    assert diagnosis.healthy == healthy
    assert diagnosis.measured.backward == pytest.approx(0.43, abs=0.05)
    assert diagnosis.measured.drift > Thresholds().drift
    if not healthy:
        [advice] = diagnosis.advice
        assert advice.action.startswith("Add skip connections, or use fewer layers: batch normalization")
        layers = int(diagnosis.measured.thresholds.drift / diagnosis.measured.backward)
        assert advice.effect.startswith(f"{layers} layers, with ")


def test_a_dead_net_is_unhealthy(inputs):
    net = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 2))
    nn.init.constant_(net[2].bias, -1e3)
    diagnosis = by_lengths(net, inputs)
    assert FM2 in diagnosis.failure_modes and diagnosis.measured.dead == 1
    assert np.isnan(diagnosis.measurement.log_deviation)
