"""Critical initialization for any activation: its draws, the activations that it accepts, and its errors."""

import numpy as np
import pytest
import torch
from torch import nn

from start_training.initializers.critical import Critical
from start_training.initializers.initialize import initialize_
from start_training.initializers.initializer import Fans
from start_training.initializers.torch_activation import activation_of
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.theory.activation import ACTIVATIONS

BY_PATH = {
    "torch.nn.ReLU": "relu",
    "torch.tanh": "tanh",
    "torch.nn.functional.gelu": "gelu",
    "torch.nn.functional.silu": "silu",
    "torch.nn.functional.leaky_relu_": "leaky_relu",  # which overwrites its input
    "torch.nn.Identity": "linear",
}
REFUSED = [
    (
        None,
        "activation = None: must be a name, a function or a module; set the activation of the net, such as ",
    ),
    (3, "activation = 3: must be a name, a function or a module; set"),
    ("swish", "activation = 'swish': must be one of gelu, leaky_relu, linear, relu, silu, tanh, or an import path"),
    ("no_such_package.act", "activation = 'no_such_package.act': cannot be imported "),
    ("torch.nn", "activation = 'torch.nn': must be a function or a module"),
    (
        "torch.nn.GLU",
        r"activation = 'torch.nn.GLU': must be an elementwise .*give outputs of shape \(150,\)",
    ),
    ("torch.nn.Linear", "activation = 'torch.nn.Linear': must be an elementwise function .*missing 2 required"),
    (nn.Softmax(0), "activation = 'Softmax': must be an elementwise .*an output depends on other inputs"),
    (lambda x: x - x.mean(), "activation = '<lambda>': must be an elementwise .*an output depends on other inputs"),
    (nn.functional.dropout, "activation = 'dropout': must be an elementwise .*an output depends on other inputs"),
    (lambda x: 1.0, r"activation = '<lambda>': must be an elementwise .* give outputs of shape \(\)"),
    (lambda x: x.detach(), "activation = '<lambda>': must be an elementwise function with a derivative .*not require"),
    ("torch.sign", "q = 1: torch.sign has no stable critical point at this q .*; it has none at any q from"),
    ("gelu", r"q = 1: gelu has no stable critical point at this q \(.*slope 1.067\); the nearest is at q = 3.57$"),
]


@pytest.mark.parametrize("path, name", BY_PATH.items())
def test_an_import_path_gives_the_values_and_derivatives_of_the_named_activation(path, name):
    x = np.linspace(-5, 5, 30)
    ours = activation_of(path)
    np.testing.assert_allclose(ours.value(x.copy()), ACTIVATIONS[name].value(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.derivative(x.copy()), ACTIVATIONS[name].derivative(x), rtol=1e-9, atol=1e-12)


def test_a_users_module_is_used_in_evaluation_mode_and_not_changed():
    module = nn.Sequential(nn.PReLU(init=0.5), nn.Dropout(0.9))
    law = Critical(module)
    assert law.point.weight_variance == pytest.approx(2 / (1 + 0.25), rel=1e-12)
    assert module.training
    assert module[0].weight.dtype == torch.float32
    assert module[0].weight.grad is None
    assert repr(law) == "Critical(Sequential, q=1)"


def test_critical_relu_draws_the_weights_of_he_initialization():
    for q in 0.1, 10.0:
        critical, he = torch.empty(40, 30), torch.empty(40, 30)
        Critical("relu", q)(critical, torch.Generator().manual_seed(1))
        VarianceScaling(2.0)(he, torch.Generator().manual_seed(1))
        torch.testing.assert_close(critical, he, rtol=1e-6, atol=0)
        assert Critical("relu", q).bias_variance(Fans(30, 40)) == 0


@pytest.mark.parametrize("layer", [nn.Linear(50, 400), nn.Conv2d(5, 400, 3)], ids=["dense", "convolution"])
def test_weights_and_biases_have_the_stated_variances(layer, generator, sigmas):
    law, fans = Critical("gelu", 10.0), Fans.of(layer.weight)
    biases, weights = [], []
    for _ in range(100):
        initialize_(layer, law, generator=generator)
        biases.append(layer.bias.detach().double().square().mean().item())
        weights.append(layer.weight.detach().double().square().mean().item())
    assert sigmas(biases, 0.32346) < 4
    assert sigmas(weights, 1.95582 / fans.fan_in) < 4
    for wrong in 0.95, 1.05:
        assert sigmas(biases, wrong * 0.32346) > 4
        assert sigmas(weights, wrong * 1.95582 / fans.fan_in) > 4


@pytest.mark.parametrize(
    "activation, message", REFUSED, ids=[str(activation).split(" at ")[0] for activation, _ in REFUSED]
)
def test_an_unusable_activation_or_one_without_critical_point_is_an_error(activation, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Critical(activation)
