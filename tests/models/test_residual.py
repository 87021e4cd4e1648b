"""How a residual net is built, and which settings it refuses."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from src.initializers.variance_scaling import VarianceScaling
from src.models.residual import Residual

HE = VarianceScaling(2.0)
REFUSED = [
    ({"modules": 0}, "^modules = 0: must be a whole number of at least 1"),
    ({"width": 0}, "^width = 0: must be a whole number of at least 1"),
    ({"module_widths": [4, 0]}, "^module_widths = 0: must be a whole number of at least 1"),
    ({"module_widths": 5}, "^module_widths = 5: must be a list"),
    ({"scales": [1.0, 0.5]}, r"^scales = \[1\.0, 0\.5\]: must be .* or a list of 3, one per module"),
    ({"scales": [1.0, 0.5, -1.0]}, r"^scales = -1\.0: must be a number above 0"),
    ({"scales": "linear"}, "^scales = 'linear': must be one of constant, geometric, inverse_depth, power"),
    ({"base": 0.0}, r"^base = 0\.0: must be a number above 0"),
    ({"ending": "tanh"}, "^ending = 'tanh': must be one of linear, relu"),
    ({"activation": "swish"}, "^activation = 'swish': must be one of gelu"),
    ({"activation": "swish", "ending": "linear"}, "^activation = 'swish': must be one of gelu"),
    ({"dropout": 1.0}, r"^dropout = 1\.0: must be a fraction, at least 0 and below 1"),
]


def residual(**settings):
    return Residual(**{"input_size": 6, "classes": 3, "modules": 3, "width": 5, **settings})


@pytest.mark.parametrize("settings, message", REFUSED, ids=str)
def test_a_setting_that_makes_no_net_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        residual(**settings)


def test_the_input_is_embedded_only_where_sizes_differ(generator):
    assert isinstance(residual(width=6).embedding, nn.Identity)
    net, inputs = residual(width=5), torch.randn(2, 6, generator=generator)
    assert net.embedding(inputs).shape == (2, 5)


@pytest.mark.parametrize("module_widths", [(), (4,), (7, 2)], ids=str)
def test_modules_lead_through_their_widths_and_back(module_widths):
    net = residual(module_widths=module_widths)
    sizes = list(pairwise([5, *module_widths, 5]))
    for module in net.residual_modules:
        linears = [layer.linear for layer in module.layers]
        assert [(linear.in_features, linear.out_features) for linear in linears] == sizes


@pytest.mark.parametrize("activation, phi", [("relu", torch.relu), ("tanh", torch.tanh)])
@pytest.mark.parametrize("ending", ["relu", "linear"])
def test_the_forward_pass_is_the_formula(generator, activation, phi, ending):
    net = residual(module_widths=[4], scales=[2.0, 1.0, 0.5], ending=ending, activation=activation)
    inputs = torch.randn(2, 6, generator=generator)
    act = net.embedding(inputs)
    for eta, module in zip([2.0, 1.0, 0.5], net.residual_modules, strict=True):
        first, last = (layer.linear for layer in module.layers)
        update = last(phi(first(act)))
        act = act + eta * (phi(update) if ending == "relu" else update)
    torch.testing.assert_close(net(inputs), net.readout(act))


@pytest.mark.parametrize("shape", [(2, 48), (2, 3, 4, 4), (0, 48)], ids=str)
def test_inputs_of_any_shape_are_flattened(shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    net = residual(input_size=48)
    logits = net(inputs)
    assert logits.shape == (shape[0], 3)
    torch.testing.assert_close(logits, net(inputs.flatten(1)))


def test_each_modules_output_is_measured_and_the_embedding_is_layer_0():
    net = residual(modules=4)
    assert [net.get_submodule(name) for name in net.measured_layers] == list(net.residual_modules)
    assert net.get_submodule(net.measured_input) is net.embedding


@pytest.mark.parametrize(
    "settings", [{"dropout": 0.1}, {"activation": "tanh"}, {"activation": "gelu", "ending": "linear"}], ids=str
)
def test_nothing_is_predicted_where_the_recursion_does_not_hold(settings):
    assert residual(**settings).law(HE) is None
    assert residual().law(HE).log_mean_length().shape == (3,)
