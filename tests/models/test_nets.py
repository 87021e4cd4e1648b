"""Properties of all nets: errors for impossible settings, the place of dropout, initialization and sampling."""

import numpy as np
import pytest
import torch
from torch import nn

from start_training.ensembles.sample import Ensemble
from start_training.initializers.initialize import initialize_
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.initializers.weights import readout_of
from start_training.lengths.layer_choice import choose_layers
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.law import law_of
from start_training.models.lenet import LeNet
from start_training.models.residual import Residual
from start_training.models.square_layer import SquareLayer

NETS = {
    FullyConnected: {"input_size": 12, "depth": 2, "width": 5},
    Residual: {"input_size": 12, "modules": 3, "width": 5},
    SquareLayer: {"input_shape": (1, 4, 4)},
    Convolutional: {"input_shape": (3, 5, 4), "depth": 3, "channels": 6},
    LeNet: {"input_shape": (2, 16, 13), "channels": [6, 4], "widths": [7], "kernel_size": 3},
}
HE = VarianceScaling(2.0)
AN_IMAGE = r"input_shape = \(100,\): must be \(channels, height, width\)"
SHRUNK = "the side to which images of 16 × 13 pixels have shrunk"
REFUSED = {
    FullyConnected: [
        ({"widths": []}, r"widths = \[\]: must be a list with at least one"),
        ({"widths": [3, 0]}, "widths = 0: must be a whole number of at least 1"),
        ({"widths": "55"}, "widths = '55': must be a list"),
    ],
    Residual: [
        ({"module_widths": [4, 0]}, "module_widths = 0: must be a whole number of at least 1"),
        ({"scales": [1.0, 0.5]}, r"scales = \[1\.0, 0\.5\]: must be .* or a list of 3, one per module"),
        ({"base": 0.0}, r"base = 0\.0: must be a number above 0"),
        ({"ending": "tanh"}, "ending = 'tanh': must be one of linear, relu"),
    ],
    SquareLayer: [
        ({"width": 15}, r"width = 15: must be 16, the number of inputs"),
        ({"window": 3}, r"window = 3: must divide height and width of images, but inputs have shape \(1, 4, 4\)"),
    ],
    Convolutional: [
        ({"input_shape": (100,)}, AN_IMAGE),
        ({"channels": [4, 0, 4]}, "channels = 0: must be a whole number of at least 1"),
        ({"channels": [4, 4]}, r"channels = \[4, 4\]: must be a number or a list of 3, one per layer"),
        ({"channels": [4, 4, 4], "residual": True}, r"channels = \[4, 4, 4\]: must be one number"),
        ({"kernel_size": 2}, "kernel_size = 2: must be odd"),
        (
            {"kernel_size": 11},
            "kernel_size = 11: must be at most 9 with circular .* images of 5 × 4 pixels",
        ),
        ({"padding": "same"}, "padding = 'same': must be one of circular, zeros"),
    ],
    LeNet: [
        ({"input_shape": (100,)}, AN_IMAGE),
        ({"channels": []}, r"channels = \[\]: must be a list with at least one"),
        ({"channels": [6, 0]}, "channels = 0: must be a whole number of at least 1"),
        ({"widths": "7"}, "widths = '7': must be a list with a number for each layer"),
        ({"kernel_size": 17}, f"kernel_size = 17: must be at most 16, {SHRUNK}; set padding = 8"),
        ({"kernel_size": 7}, f"kernel_size = 7: must be at most 5, {SHRUNK}; set padding = 3"),
        ({"window": 1}, "window = 1: must be a whole number of at least 2"),
        ({"window": 4}, f"window = 4: must be at most 3, {SHRUNK}"),
        ({"pooling": ["max"]}, r"pooling = \['max'\]: must be a name or a list of 2, one per convolution"),
    ],
}
each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


def made(kind, **settings):
    return kind(classes=3, **{**NETS[kind], **settings})


def inputs_of(kind, count=4):
    shape = NETS[kind].get("input_shape", (3, 2, 2))  # inputs of any shape are flattened
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [(kind, *case) for kind, cases in REFUSED.items() for case in cases],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_impossible_setting_is_an_error(kind, settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        made(kind, **settings)


@each_net
def test_the_activation_is_chosen_by_name_and_unknown_names_are_errors(kind):
    with pytest.raises(ValueError, match=r"^activation = 'swish': must be one of gelu"):
        made(kind, activation="swish")
    assert any(isinstance(module, nn.SiLU) for module in made(kind, activation="silu").modules())


@each_net
def test_initializers_fill_all_layers_and_the_net_compiles_as_one_graph(kind):
    net, inputs = made(kind), inputs_of(kind)
    initialize_(net, lambda weight: weight.fill_(0.1), readout_initializer=nn.init.zeros_, generator=torch.Generator())
    assert readout_of(net) is net.readout
    drawn = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    assert all((weight == (0 if weight is net.readout.weight else 0.1)).all() for weight in drawn)
    assert all((parameter == 0).all() for parameter in net.parameters() if parameter.dim() == 1)
    logits = torch.compile(net, backend="eager", fullgraph=True)(inputs)
    assert logits.shape == (4, 3) and torch.equal(logits, net(inputs))
    assert kind is not LeNet or law_of(net, HE) is None  # theory does not cover pooling
    assert net(inputs[:0]).shape == (0, 3)
    assert [net.get_submodule(name) for name in choose_layers(net).kinds]  # all names exist


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Convolutional, {"padding": "circular"}),
        (Convolutional, {"padding": "zeros", "residual": True}),
        (LeNet, {"channels": [8, 8], "widths": [60], "pooling": ["max", "mean"]}),
    ],
)
def test_nets_can_be_sampled_vectorized(kind, settings, sigmas):
    ensemble = Ensemble(lambda: made(kind, **settings), HE, inputs_of(kind))
    assert ensemble.choose_sampler() == "vectorized"
    fast, slow = (
        np.concatenate(list(ensemble.log_lengths(nets, sampler=sampler)))[:, 1:]
        for sampler, nets in (("vectorized", 2000), ("reference", 100))
    )
    assert (sigmas(slow, fast.mean(0)) < 4).all()
    assert (sigmas(slow, fast.mean(0) + np.log(1.5)) > 4).all()


@pytest.mark.parametrize(
    ("kind", "settings", "layers"),
    [(FullyConnected, {}, 2), (Residual, {}, 3), (Convolutional, {"residual": True}, 3), (LeNet, {}, 3)],
)
def test_dropout_follows_every_layer_except_the_readout_and_only_in_training(kind, settings, layers):
    net, inputs = made(kind, dropout=0.25, **settings), inputs_of(kind)
    drops = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert drops == [0.25] * layers
    assert not torch.equal(net.train()(inputs), net(inputs))
    torch.testing.assert_close(net.eval()(inputs), net(inputs), rtol=0, atol=0)
    assert not any(isinstance(module, nn.Dropout) for module in made(kind).modules())
    for dropout in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"^dropout = {dropout}: must be a fraction, at least 0 and below 1"):
            made(kind, dropout=dropout)


def test_theory_predicts_only_nets_whose_weights_can_have_the_law():
    plain, exact, fixed, frozen = (FullyConnected(4, 3, depth=2, width=4) for _ in range(4))
    nn.utils.parametrizations.weight_norm(exact.hidden[1].linear)
    nn.utils.parametrizations.spectral_norm(fixed.hidden[1].linear)
    frozen.hidden[1].requires_grad_(False)
    assert [law_of(net, HE) is not None for net in (plain, exact, fixed, frozen)] == [True, True, False, False]
