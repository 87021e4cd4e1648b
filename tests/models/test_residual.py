"""The construction, forward pass and law of residual nets."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.residual import Residual

HE = VarianceScaling(2.0)


def residual(**settings):
    return Residual(**{"input_size": 6, "classes": 3, "modules": 3, "width": 5, **settings})


def test_the_input_is_embedded_only_if_its_size_differs(generator):
    assert isinstance(residual(width=6).embedding, nn.Identity)
    net, inputs = residual(width=5), torch.randn(2, 6, generator=generator)
    assert net.embedding(inputs).shape == (2, 5)


@pytest.mark.parametrize("module_widths", [(), (4,), (7, 2)], ids=str)
def test_modules_have_the_given_hidden_widths(module_widths):
    net = residual(module_widths=module_widths)
    assert [net.get_submodule(name) for name in net.measured_layers] == list(net.residual_modules)
    assert net.get_submodule(net.measured_input) is net.embedding
    sizes = list(pairwise([5, *module_widths, 5]))
    for module in net.residual_modules:
        linears = [layer.linear for layer in module.layers]
        assert [(linear.in_features, linear.out_features) for linear in linears] == sizes


@pytest.mark.parametrize("activation, phi", [("relu", torch.relu), ("tanh", torch.tanh)])
@pytest.mark.parametrize("ending", ["relu", "linear"])
def test_the_forward_pass_agrees_with_the_formula(generator, activation, phi, ending):
    net = residual(module_widths=[4], scales=[2.0, 1.0, 0.5], ending=ending, activation=activation)
    inputs = torch.randn(2, 6, generator=generator)
    act = net.embedding(inputs)
    for eta, module in zip([2.0, 1.0, 0.5], net.residual_modules, strict=True):
        first, last = (layer.linear for layer in module.layers)
        update = last(phi(first(act)))
        act = act + eta * (phi(update) if ending == "relu" else update)
    torch.testing.assert_close(net(inputs), net.readout(act))


@pytest.mark.parametrize(
    "settings", [{"dropout": 0.1}, {"activation": "tanh"}, {"activation": "gelu", "ending": "linear"}], ids=str
)
def test_there_is_no_law_for_settings_that_theory_does_not_cover(settings):
    assert residual(**settings).law(HE) is None
    assert residual().law(HE).log_mean_length().shape == (3,)
