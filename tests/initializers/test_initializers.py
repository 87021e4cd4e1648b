"""The weights and biases of every initializer in conf/ have the stated variance and kurtosis."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm
from torch import nn

from start_training.initializers.initialize import initialize_
from start_training.initializers.initializer import Fans
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import FAN_MODES, SHAPES, VarianceScaling
from tests.conftest import FORMULAS, INITIALIZERS

CUT_VARIANCE, CUT_KURTOSIS = (truncnorm(-2, 2).moment(2), truncnorm(-2, 2).stats("k") + 3)

# name: kappa for fans (in, out) = (30, 60), and kurtosis
LAWS = {
    "he_normal": (2, 3),
    "he_uniform": (2, 9 / 5),
    "he_truncated_normal": (2 * CUT_VARIANCE, CUT_KURTOSIS),
    "he_normal_x2": (4, 3),
    "lecun_normal": (1, 3),
    "lecun_uniform": (1, 9 / 5),
    "glorot_normal": (2 * 30 / 90, 3),
    "glorot_uniform": (2 * 30 / 90, 9 / 5),
    "orthogonal": (2 * 30 / 60, 3 * 60 / 62),
    "torch_default": (1 / 3, 9 / 5),
    "critical": (2, 3),  # of a ReLU net
    "phase": (0.25, 3),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("path", [path for path in INITIALIZERS if path.stem != "auto"], ids=lambda path: path.stem)
def test_kappa_and_kurtosis_are_the_published_ones(path, initializer_named):
    name = path.stem
    initializer, fans, (kappa, kurtosis) = initializer_named(name), Fans(30, 60), LAWS[name]
    assert initializer.kappa(fans) == pytest.approx(kappa, rel=1e-9)
    assert initializer.kurtosis(fans) == pytest.approx(kurtosis, rel=1e-9)
    assert initializer.bias_variance(fans) == pytest.approx(1 / 90 if name == "torch_default" else 0)
    assert initializer.independent == (name != "orthogonal") and initializer.symmetric
    assert name in FORMULAS or isinstance(initializer, VarianceScaling)  # another test covers all VarianceScaling


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (16, 8, 3, 3)], ids=str)
def test_weights_have_the_stated_variance_and_kurtosis(initializer, shape, sigmas):
    fans, generator = Fans.of(torch.empty(shape)), seeded()
    one_by_one, at_once = torch.empty(200, *shape), torch.empty(200, *shape)
    for weight in one_by_one:
        initializer(weight, generator)
    initializer.fill_many_(at_once, generator)
    variance, kurtosis = initializer.variance(fans), initializer.kurtosis(fans)
    for drawn in one_by_one, at_once:
        weights = drawn.double().flatten(1).numpy()
        squares, fourths = (weights**2).mean(1), (weights**4).mean(1) / variance**2
        assert sigmas(squares, variance) < 4
        assert min(sigmas(squares, 1.1 * variance), sigmas(squares, variance / 1.1)) > 4
        assert sigmas(fourths, kurtosis) < 4
        assert all(sigmas(fourths, law.kurtosis) > 4 for law in SHAPES.values() if abs(law.kurtosis - kurtosis) > 0.2)
        assert sigmas(weights.mean(1), 0) < 4


@given(st.floats(0.1, 10), st.sampled_from(FAN_MODES), st.sampled_from([*SHAPES]), st.sampled_from([(6, 9), (4, 3, 2)]))
def test_scale_and_fan_mode_only_multiply_the_weights(scale, fan_mode, distribution, shape):
    initializer, unit = VarianceScaling(scale, fan_mode, distribution), VarianceScaling(1.0, "fan_in", distribution)
    fans, weight, of_unit = Fans.of(torch.empty(shape)), torch.empty(shape), torch.empty(shape)
    initializer(weight, seeded())
    unit(of_unit, seeded())
    fan = {"fan_in": fans.fan_in, "fan_out": fans.fan_out, "fan_average": (fans.fan_in + fans.fan_out) / 2}[fan_mode]
    factor = scale * fans.fan_in / fan
    torch.testing.assert_close(weight, of_unit * math.sqrt(factor), rtol=1e-5, atol=1e-7)
    assert initializer.kappa(fans) == pytest.approx(factor * SHAPES[distribution].variance, rel=1e-12)
    assert initializer.kurtosis(fans) == SHAPES[distribution].kurtosis


@pytest.mark.parametrize("layer", [nn.Linear(24, 40), nn.Conv2d(6, 40, 2)], ids=["dense", "convolution"])
def test_torch_default_draws_the_same_weights_and_biases_as_torch(layer, sigmas):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layer.reset_parameters()
    theirs = [parameter.detach().clone() for parameter in layer.parameters()]
    biases, generator = [], seeded(3)
    for _ in range(200):
        initialize_(layer, TorchDefault(), generator=generator)
        if not biases:
            for ours, expected in zip(layer.parameters(), theirs, strict=True):
                torch.testing.assert_close(ours.detach(), expected, rtol=1e-5, atol=0)
        biases.append(layer.bias.detach().double().square().mean().item())
    assert sigmas(biases, 1 / 72) < 4  # 1 / (3 fan_in)
    assert sigmas(biases, 1.1 / 72) > 4


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (4, 18), (3, 3)], ids=str)
def test_orthogonal_weights_are_orthogonal(shape):
    weight, many = torch.empty(shape), torch.empty(5, *shape)
    Orthogonal(gain=3.0)(weight, seeded())
    Orthogonal(gain=3.0).fill_many_(many, seeded())
    for drawn in weight, *many:
        gram = drawn @ drawn.T if shape[0] <= shape[1] else drawn.T @ drawn
        torch.testing.assert_close(gram, 9 * torch.eye(len(gram)), rtol=0, atol=1e-5)


def test_truncated_normal_weights_are_within_two_nominal_deviations():
    weight, edge = torch.empty(200, 100), 2 * math.sqrt(2 / 100)
    VarianceScaling(2.0, distribution="truncated_normal")(weight, seeded())
    assert 0.99 * edge < weight.abs().max() <= edge * (1 + 1e-6)


@pytest.mark.parametrize("layer", [nn.Linear(3, 5), nn.Conv1d(3, 5, 4), nn.Conv2d(3, 5, (2, 3))], ids=str)
def test_fans_agree_with_torch(layer):
    fans = Fans.of(layer.weight)
    assert (fans.fan_in, fans.fan_out) == nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert fans.kernel == layer.weight[0, 0].numel()
    assert Fans(3, 5).kernel == 1


def test_moments_have_one_number_per_layer(initializer_named):
    layers = [Fans(10, 30), Fans(30, 30), Fans(8, 48, 4)]
    np.testing.assert_allclose(initializer_named("glorot_normal").moments(layers)["kappas"], [0.5, 1.0, 2 / 7])
    orthogonal = initializer_named("orthogonal").moments(layers)  # the last layer has 12 channels and fan-in 8
    np.testing.assert_allclose(orthogonal["kappas"], [2 / 3, 2.0, 4 / 3])
    np.testing.assert_allclose(orthogonal["kurtosis"], [90 / 32, 90 / 32, 36 / 14])
    default = initializer_named("torch_default").moments(layers)
    np.testing.assert_allclose(default["bias_variances"], [1 / 30, 1 / 90, 1 / 24])


def test_impossible_settings_are_errors_and_a_repr_shows_the_settings():
    for name, value in {"scale": 0.0, "fan_mode": "fan", "distribution": "cauchy"}.items():
        with pytest.raises(ValueError, match=f"^{name} = {value!r}: must be"):
            VarianceScaling(**{"scale": 2.0} | {name: value})
    with pytest.raises(ValueError, match=r"^gain = -1: must be a number above 0"):
        Orthogonal(gain=-1)
    assert repr(VarianceScaling(1.5, "fan_out", "uniform")) == "VarianceScaling(scale=1.5, fan_out, uniform)"
    assert [repr(law) for law in (Orthogonal(), TorchDefault())] == ["Orthogonal(gain=1.414)", "TorchDefault()"]
