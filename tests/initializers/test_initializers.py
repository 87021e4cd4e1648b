"""Every initializer of conf/ draws the law that it states: variance, kurtosis, biases."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from src.initializers.initialize import initialize_
from src.initializers.initializer import Fans
from src.initializers.orthogonal import Orthogonal
from src.initializers.torch_default import TorchDefault
from src.initializers.variance_scaling import SHAPES, VarianceScaling

CONF = Path(__file__).parents[2] / "conf" / "initializer"
TRUNCATED = 0.77374  # the variance left of a standard normal cut at two deviations
# (units out, units in, *kernel)
SHAPES_OF_WEIGHTS = [(32, 32), (48, 16), (16, 48), (16, 8, 3, 3)]
LAYERS = {"dense": nn.Linear(24, 40), "convolution": nn.Conv2d(6, 40, 2)}

# name: kappa for fans (in, out) = (30, 60), and kurtosis
LAWS = {
    "he_normal": (2, 3),
    "he_uniform": (2, 9 / 5),
    "he_truncated_normal": (2 * TRUNCATED, 2.366),
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


def draws_of(initializer, shape, generator, number=200):
    """(number, weights of a draw) in float64."""
    weights = torch.empty(number, *shape)
    for weight in weights:
        initializer(weight, generator)
    return weights.double().flatten(1).numpy()


def biases_of(initializer, layer, generator, number=200):
    biases = []
    for _ in range(number):
        initialize_(layer, initializer, generator=generator)
        biases.append(layer.bias.detach().double().numpy().copy())
    return np.stack(biases)


@pytest.mark.parametrize("name, law", LAWS.items())
def test_the_numbers_of_the_papers(name, law, initializer_named):
    initializer, fans = initializer_named(name), Fans(30, 60)
    assert initializer.kappa(fans) == pytest.approx(law[0], rel=1e-4)
    assert initializer.kurtosis(fans) == pytest.approx(law[1], rel=1e-3)
    assert initializer.bias_variance(fans) == (pytest.approx(1 / 90) if name == "torch_default" else 0)


def test_the_table_names_every_initializer_of_conf():
    assert set(LAWS) == {path.stem for path in CONF.glob("*.yaml")}


@pytest.mark.parametrize("shape", SHAPES_OF_WEIGHTS, ids=str)
def test_weights_have_the_stated_variance_around_zero(initializer, shape, generator, sigmas):
    draws = draws_of(initializer, shape, generator)
    stated = initializer.variance(Fans.of(torch.empty(shape)))
    assert sigmas((draws**2).mean(1), stated) < 4
    assert sigmas((draws**2).mean(1), 1.1 * stated) > 4
    assert sigmas((draws**2).mean(1), stated / 1.1) > 4
    assert sigmas(draws.mean(1), 0) < 4


@pytest.mark.parametrize("shape", SHAPES_OF_WEIGHTS, ids=str)
def test_weights_have_the_stated_kurtosis(initializer, shape, generator, sigmas):
    fans = Fans.of(torch.empty(shape))
    fourth = (draws_of(initializer, shape, generator) ** 4).mean(1) / initializer.variance(fans) ** 2
    stated = initializer.kurtosis(fans)
    assert sigmas(fourth, stated) < 4
    for other in {shape.kurtosis for shape in SHAPES.values()} - {stated}:
        assert sigmas(fourth, other) > 4


@pytest.mark.parametrize("kind", LAYERS)
def test_biases_are_zero_or_have_the_stated_variance(initializer, kind, generator, sigmas):
    biases = biases_of(initializer, LAYERS[kind], generator)
    stated = initializer.bias_variance(Fans(24, 40))
    if stated == 0:
        assert not biases.any()
    else:
        assert sigmas((biases**2).mean(1), stated) < 4
        assert sigmas((biases**2).mean(1), 1.1 * stated) > 4


@pytest.mark.parametrize("kind", LAYERS)
def test_torch_default_draws_the_very_weights_that_torch_draws(kind):
    layer = LAYERS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layer.reset_parameters()
    theirs = [parameter.detach().clone() for parameter in layer.parameters()]
    initialize_(layer, TorchDefault(), generator=torch.Generator().manual_seed(3))
    for ours, expected in zip(layer.parameters(), theirs, strict=True):
        torch.testing.assert_close(ours.detach(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("parameter", ["weight", "bias"])
def test_torch_default_states_the_variance_of_what_torch_draws(parameter, sigmas):
    layer, fans = nn.Linear(24, 40), Fans(24, 40)
    squares = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(400):
            layer.reset_parameters()
            squares.append(getattr(layer, parameter).detach().double().square().mean().item())
    law = TorchDefault()
    stated = law.variance(fans) if parameter == "weight" else law.bias_variance(fans)
    assert sigmas(squares, stated) < 4
    assert sigmas(squares, 1.1 * stated) > 4
    assert sigmas(squares, VarianceScaling(2.0).variance(fans)) > 4


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (4, 18)], ids=str)
def test_orthogonal_weights_are_orthogonal(shape, generator):
    weight = torch.empty(shape)
    Orthogonal(gain=3.0)(weight, generator)
    gram = weight @ weight.T if shape[0] <= shape[1] else weight.T @ weight
    torch.testing.assert_close(gram, 9 * torch.eye(len(gram)), rtol=0, atol=1e-5)


def test_weights_of_a_truncated_normal_end_at_two_nominal_deviations(generator):
    weight = torch.empty(200, 100)
    VarianceScaling(2.0, distribution="truncated_normal")(weight, generator)
    edge = 2 * math.sqrt(2 / 100)
    assert 0.99 * edge < weight.abs().max() <= edge * (1 + 1e-6)


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 5), nn.Conv1d(3, 5, 4), nn.Conv2d(3, 5, (2, 3)), nn.Conv3d(3, 5, 2)], ids=str
)
def test_fans_are_torchs(layer):
    fans = Fans.of(layer.weight)
    assert (fans.fan_in, fans.fan_out) == nn.init._calculate_fan_in_and_fan_out(layer.weight)
    assert fans.kernel == layer.weight[0, 0].numel()


def test_one_kappa_and_one_bias_variance_per_layer(initializer_named):
    layers = [Fans(10, 30), Fans(30, 30)]
    np.testing.assert_allclose(initializer_named("glorot_normal").kappas(layers), [0.5, 1.0])
    np.testing.assert_allclose(initializer_named("orthogonal").kappas(layers), [2 / 3, 2.0])
    np.testing.assert_allclose(initializer_named("torch_default").bias_variances(layers), [1 / 30, 1 / 90])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"scale": 0.0}, "scale = 0.0: must be a number above 0"),
        ({"scale": math.nan}, "scale = nan: must be"),
        ({"scale": 2.0, "fan_mode": "fan"}, "fan_mode = 'fan': must be one of fan_average, fan_in, fan_out"),
        ({"scale": 2.0, "distribution": "cauchy"}, "distribution = 'cauchy': must be one of normal, truncated"),
    ],
)
def test_a_law_that_does_not_exist_is_a_mistake(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        VarianceScaling(**settings)


def test_a_gain_that_is_not_positive_is_a_mistake():
    with pytest.raises(ValueError, match=r"^gain = -1: must be a number above 0"):
        Orthogonal(gain=-1)
