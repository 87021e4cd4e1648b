"""Redrawing a module from its own weights keeps their distribution and nothing else."""

import pytest
import torch
from torch import nn

from src.diagnosis.redraw import LARGE, Redraw, orthogonal_gain, permute_, second_moment_variances
from src.initializers.orthogonal import Orthogonal


def redrawn(net, generator):
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    Redraw(net)(net, generator)
    return before, dict(net.named_parameters())


def test_every_parameter_keeps_its_entries_and_loses_their_order(generator):
    net = nn.TransformerEncoderLayer(16, 2)
    before, after = redrawn(net, generator)
    assert "self_attn.in_proj_weight" in before
    for name, values in before.items():
        there, now = (tensor.abs() if values.dim() > 1 else tensor for tensor in (values, after[name]))
        assert torch.equal(there.flatten().sort().values, now.flatten().sort().values)
        assert torch.equal(values, after[name]) == (values.unique().numel() == 1), name  # constants: norms, zero biases


def test_orthogonal_weights_stay_orthogonal_of_the_same_gain(generator):
    net = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 20), nn.Linear(20, 8), nn.Conv2d(3, 8, 3))
    for layer in net:
        Orthogonal(1.7)(layer.weight.data, generator)
    before, after = redrawn(net, generator)
    for name in (name for name in before if "weight" in name):
        assert orthogonal_gain(after[name]) == pytest.approx(1.7, rel=1e-5)
        assert (before[name] - after[name]).abs().max() > 0.1
        assert not torch.equal(before[name].flatten().sort().values, after[name].flatten().sort().values)


def test_independent_weights_do_not_count_as_orthogonal(generator):
    assert orthogonal_gain(torch.randn(50, 50, generator=generator)) is None
    assert orthogonal_gain(torch.randn(2, 100_000, generator=generator)) is None
    assert orthogonal_gain(torch.randn(1, 50, generator=generator)) is None
    assert orthogonal_gain(torch.zeros(5, 5)) is None
    assert orthogonal_gain(torch.ones(5)) is None


def test_of_large_weights_whole_rows_and_columns_change_places_and_signs(generator):
    weight = torch.randn(1024, 1 + LARGE // 1024, generator=generator)
    before = weight.clone()
    permute_(weight, generator)
    assert torch.equal(before.abs().flatten().sort().values, weight.abs().flatten().sort().values)
    for axis in (0, 1):
        lengths = [tensor.double().square().sum(axis).sort().values for tensor in (before, weight)]
        torch.testing.assert_close(*lengths)
    assert not torch.equal(before.abs().sum(0), weight.abs().sum(0))
    assert (before.sign() * weight.sign()).mean().abs() < 0.01


def test_weights_of_mean_zero_get_signs_and_others_keep_theirs(generator):
    centred, positive = torch.randn(50, 50, generator=generator), torch.rand(50, 50, generator=generator)
    mean = float(centred.mean())
    means = []
    for _ in range(200):
        for parameter in (centred, positive):
            permute_(parameter, generator)
        means.append(float(centred.mean()))
    assert (positive >= 0).all()
    assert abs(sum(means) / 200) < 4 / 50 / 200**0.5  # no longer the one they began with
    assert len({round(abs(value), 9) for value in [mean, *means]}) > 100


def test_the_generator_alone_decides():
    weights = torch.arange(60.0).reshape(5, 4, 3)
    first, second, third = weights.clone(), weights.clone(), weights.clone()
    for tensor, seed in ((first, 0), (second, 0), (third, 1)):
        permute_(tensor, torch.Generator().manual_seed(seed))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_how_far_the_weights_there_are_may_be_from_their_law(generator):
    squares = torch.stack([torch.randn(10, 10, generator=generator).square().mean() for _ in range(4000)])
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 10))
    nn.init.normal_(net[0].weight, generator=generator)
    nn.init.orthogonal_(net[1].weight, generator=generator)
    nn.init.zeros_(net[2].weight)
    normal, orthogonal, zero = second_moment_variances(net).values()
    assert normal == pytest.approx(float(squares.var()), rel=0.4)
    assert (orthogonal, zero) == (0, 0)
