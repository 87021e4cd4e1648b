"""Tests that redrawing a module keeps the distribution of its weights and nothing else."""

import math

import pytest
import torch
from torch import nn

from start_training.diagnosis.evidence.redraw import LARGE, Redraw, orthogonal_gain, permute_, second_moment_variances
from start_training.initializers.orthogonal import Orthogonal


def redrawn(net, generator):
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    Redraw(net)(net, generator)
    return before, dict(net.named_parameters())


def ordered(tensor):
    return tensor.detach().flatten().sort().values


def test_every_parameter_keeps_its_entries_and_loses_their_order(generator):
    before, after = redrawn(nn.TransformerEncoderLayer(16, 2), generator)
    assert "self_attn.in_proj_weight" in before
    for name, values in before.items():
        old, new = (tensor.abs() if values.dim() > 1 else tensor for tensor in (values, after[name]))
        assert torch.equal(ordered(old), ordered(new))
        is_constant = values.unique().numel() == 1  # norms and zero biases
        assert torch.equal(values, after[name]) == is_constant, name


def test_orthogonal_weights_stay_orthogonal_of_the_same_gain(generator):
    net = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 20), nn.Linear(20, 8), nn.Conv2d(3, 8, 3))
    for layer in net:
        Orthogonal(1.7)(layer.weight.data, generator)
    before, after = redrawn(net, generator)
    for name in (name for name in before if "weight" in name):
        assert orthogonal_gain(after[name]) == pytest.approx(1.7, rel=1e-5)
        assert (before[name] - after[name]).abs().max() > 0.1
        assert not torch.equal(ordered(before[name]), ordered(after[name]))


def test_orthogonality_is_tested_to_a_tolerance_of_a_ten_thousandth_and_independent_weights_fail(generator):
    square = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    for share, orthogonal in ((0.95e-4, True), (1.05e-4, False)):
        slanted = torch.linalg.cholesky(torch.eye(8, dtype=torch.float64) + share * torch.eye(8).flip(0)) @ square
        assert (orthogonal_gain(3 * slanted) is not None) == orthogonal
    for shape in ((50, 50), (2, 100_000), (1, 50)):
        assert orthogonal_gain(torch.randn(shape, generator=generator)) is None
    assert orthogonal_gain(torch.zeros(5, 5)) is orthogonal_gain(torch.ones(5)) is None
    assert orthogonal_gain(torch.eye(2)) == 1


@pytest.mark.parametrize("more", [0, 1])
def test_whole_rows_and_columns_of_large_weights_are_permuted_and_get_signs(generator, more):
    weight = torch.randn(1024, LARGE // 1024 + more, generator=generator)
    assert LARGE == 2**20
    before = weight.clone()
    permute_(weight, generator)
    assert torch.equal(ordered(before.abs()), ordered(weight.abs()))
    for axis in (0, 1):
        lengths = [tensor.double().square().sum(axis).sort().values for tensor in (before, weight)]
        assert torch.allclose(*lengths) == bool(more)
    assert not torch.equal(before.abs().sum(0), weight.abs().sum(0))
    assert (before.sign() * weight.sign()).mean().abs() < 0.01


@pytest.mark.parametrize(("errors", "signed"), [(3.95, True), (4.05, False)])
def test_weights_get_random_signs_only_if_their_mean_is_0_within_four_errors(generator, errors, signed):
    entries = torch.randn(50, 50, generator=generator, dtype=torch.float64)
    entries = (entries - entries.mean()) / entries.std(correction=0)
    share = errors / 50  # mean / √(mean square)
    weight = entries + share / math.sqrt(1 - share**2)
    before, means = weight.clone(), []
    for _ in range(100):
        permute_(weight, generator)
        means.append(float(weight.mean()))
    assert torch.equal(ordered(before), ordered(weight)) != signed
    assert (len({round(mean, 9) for mean in means}) > 50) == signed
    bias = torch.arange(60.0)
    permute_(bias, generator)
    assert torch.equal(ordered(bias), torch.arange(60.0)) and not torch.equal(bias, torch.arange(60.0))


def test_second_moment_variances_is_the_sampling_variance_of_the_mean_square(generator):
    squares = torch.stack([torch.randn(10, 10, generator=generator).square().mean() for _ in range(4000)])
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 10))
    nn.init.normal_(net[0].weight, generator=generator)
    nn.init.orthogonal_(net[1].weight, generator=generator)
    nn.init.zeros_(net[2].weight)
    normal, orthogonal, zero = second_moment_variances(net).values()
    assert normal == pytest.approx(float(squares.var()), rel=0.4)
    assert (orthogonal, zero) == (0, 0)
    net[0].weight.data = torch.tensor([1.0, 1.0, 2.0, 2.0]).reshape(2, 2)
    assert second_moment_variances(net)["0"] == pytest.approx(2.25 / 2.5**2 / 4)
