"""What a capture reads off a forward pass, against forward passes by hand."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from src.lengths.capture import Capture, measured_layers
from src.models.fully_connected import FullyConnected
from src.models.residual import Residual

EXACT = {"rtol": 1e-6, "atol": 0}


def lengths_of(activation):
    return activation.detach().double().flatten(1).square().mean(1)


def capture_of(net, *inputs, patterns=None, **keywords):
    """The readings of one forward pass."""
    capture = Capture(net, patterns)
    capture.start()
    net(*inputs, **keywords)
    readings = capture.stop()
    capture.remove()
    return readings


def check(readings, expected):
    """expected: name and activation of every layer, the input first."""
    assert [name for name, _ in readings] == [name for name, _ in expected]
    for (name, lengths), (_, activation) in zip(readings, expected, strict=True):
        torch.testing.assert_close(
            lengths, lengths_of(activation), **EXACT, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture
def images(generator):
    return torch.randn(4, 3, 8, 8, generator=generator)


@pytest.fixture
def inputs(generator):
    return torch.randn(6, 10, generator=generator)


class Functional(nn.Module):
    """No activation modules: the activations are functions."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(10, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, inputs):
        return self.last(torch.relu(self.norm(self.first(inputs))))


class Several(nn.Module):
    """Modules that return more than one tensor, and take their inputs by keyword."""

    def __init__(self):
        super().__init__()
        self.body, self.head = Pair(), Named()

    def forward(self, inputs):
        return self.head(pair=self.body(inputs=inputs))["logits"]


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 8)

    def forward(self, inputs):
        return inputs.argmax(1), None, [self.linear(input=inputs), inputs]


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, pair):
        return {"scale": torch.tensor(2.0), "logits": self.linear(pair[2][0])}


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_fully_connected_net_is_read_after_each_activation(images, dropout):
    net = FullyConnected(192, 3, widths=[9, 7, 5], dropout=dropout).eval()
    activation, expected = images.flatten(1), [("input", images)]
    for layer in range(3):
        activation = net.hidden[layer].linear(activation).relu()
        expected.append((f"hidden.{layer}.activation", activation))
    check(capture_of(net, images), expected)


def test_dropout_comes_after_the_reading(inputs):
    net = FullyConnected(10, 3, depth=1, width=50, dropout=0.9)
    check(
        capture_of(net, inputs),
        [("input", inputs), ("hidden.0.activation", net.hidden[0].linear(inputs).relu())],
    )


@pytest.mark.parametrize("width", [10, 6], ids=["as wide as the input", "embedded"])
@pytest.mark.parametrize("ending", ["relu", "linear"])
def test_a_residual_net_is_read_after_each_addition(inputs, width, ending):
    net = Residual(10, 3, modules=3, width=width, module_widths=[4], scales=[0.5, 2.0, 1.0], ending=ending)
    activation = inputs if width == 10 else net.embedding(inputs)
    expected = [("input", activation)]
    for layer, eta in enumerate([0.5, 2.0, 1.0]):
        first, last = (step.linear for step in net.residual_modules[layer].layers)
        update = last(first(activation).relu())
        activation = activation + eta * (update.relu() if ending == "relu" else update)
        expected.append((f"residual_modules.{layer}", activation))
    check(capture_of(net, inputs), expected)


def test_a_foreign_net_whose_modules_run_twice_and_in_place(generator):
    net, images = resnet18(weights=None).train(), torch.randn(2, 3, 32, 32, generator=generator)
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 9
    assert all(module.inplace for module in relus)
    outputs = []
    handles = [module.register_forward_hook(lambda *call: outputs.append(call[-1].clone())) for module in relus]
    readings = capture_of(net, images)
    for handle in handles:
        handle.remove()
    blocks = [f"layer{stage}.{block}.relu" for stage in (1, 2, 3, 4) for block in (0, 1)]
    names = ["input", "relu", *(name + again for name in blocks for again in ("", ":2"))]
    check(readings, list(zip(names, [images, *outputs], strict=True)))


def test_an_activation_in_place_is_read_before_the_next_one_overwrites_it(inputs):
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(inplace=True), nn.Hardtanh(0.1, 0.2, inplace=True))
    activation = net[0](inputs).relu()
    check(capture_of(net, inputs), [("input", inputs), ("1", activation), ("2", activation.clone().clamp(0.1, 0.2))])


def test_what_precedes_an_activation_in_place_is_read_as_it_was(inputs):
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(inplace=True))
    check(capture_of(net, inputs, patterns=["0"]), [("input", inputs), ("0", net[0](inputs))])


def test_without_activation_modules_the_innermost_modules_with_weights_are_read(inputs):
    net = Functional()
    first = net.first(inputs)
    normed = net.norm(first)
    check(
        capture_of(net, inputs),
        [("input", inputs), ("first", first), ("norm", normed), ("last", net.last(normed.relu()))],
    )


def test_the_first_floating_point_tensor_with_samples_counts(inputs):
    net = Several()
    hidden = net.body.linear(inputs)
    check(
        capture_of(net, inputs, patterns=["body", "head"]),
        [("input", inputs), ("body", hidden), ("head", net.head.linear(hidden))],
    )


def test_the_input_of_a_net_of_tokens_is_their_embedding():
    net, tokens = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 4), nn.ReLU()), torch.tensor([[0, 1], [2, 4]])
    embedded = net[0](tokens)
    check(capture_of(net, tokens), [("input", embedded), ("2", net[1](embedded).relu())])


def test_a_module_that_runs_again_is_another_layer(inputs):
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(10, 10), relu, nn.Linear(10, 4), relu, relu)
    first = net[0](inputs).relu()
    last = net[2](first).relu()
    check(capture_of(net, inputs), [("input", inputs), ("1", first), ("1:2", last), ("1:3", last)])


def test_patterns_choose_modules_in_the_order_in_which_they_run(inputs):
    net = FullyConnected(10, 3, depth=3, width=5)
    names = [name for name, _ in capture_of(net, inputs, patterns=["readout", "hidden.[02].linear"])]
    assert names == ["input", "hidden.0.linear", "hidden.2.linear", "readout"]


@pytest.mark.parametrize(
    "patterns, message", [(["hidden.*", "hiden.*"], r"'hiden\.\*': matches none of hidden, hidden\.0,"), ([], r"\[\]")]
)
def test_a_pattern_that_matches_nothing_is_a_mistake(patterns, message):
    with pytest.raises(ValueError, match=rf"^modules = {message}"):
        Capture(FullyConnected(10, 3, depth=1, width=5), patterns)


def test_a_net_with_nothing_to_measure_is_a_mistake():
    with pytest.raises(ValueError, match=r"^Sequential: has neither activation modules nor modules with weights"):
        Capture(nn.Sequential(nn.Flatten(), nn.Dropout()))


def test_softmax_is_no_activation_to_measure():
    net = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.Softmax(dim=1), nn.Tanh())
    assert measured_layers(net) == ["1", "4"]


def test_nothing_is_read_outside_start_and_stop(inputs):
    net = FullyConnected(10, 3, depth=2, width=5)
    capture = Capture(net)
    net(inputs)
    assert capture.stop() == []
    capture.start()
    net(inputs)
    assert len(capture.stop()) == 3
    net(inputs)
    assert capture.stop() == []


def test_starting_again_forgets_an_unfinished_pass(inputs):
    net = FullyConnected(10, 3, depth=2, width=5)
    capture = Capture(net)
    capture.start()
    net(inputs)
    capture.start()
    net(2 * inputs)
    check(capture.stop()[:1], [("input", 2 * inputs)])


def test_removal_leaves_no_hook(inputs):
    net = nn.Sequential(nn.Linear(10, 4), nn.ReLU())
    capture = Capture(net)
    assert any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    capture.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    capture.start()
    net(inputs)
    assert capture.stop() == []


def test_measuring_changes_neither_outputs_nor_gradients(inputs):
    net = nn.Sequential(nn.Linear(10, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))

    def outputs_and_gradients():
        net.zero_grad()
        outputs = net(inputs)
        outputs.square().sum().backward()
        return outputs.detach(), [parameter.grad.clone() for parameter in net.parameters()]

    plain = outputs_and_gradients()
    capture = Capture(net)
    capture.start()
    measured = outputs_and_gradients()
    assert not any(lengths.requires_grad for _, lengths in capture.stop())
    torch.testing.assert_close(measured, plain, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "net",
    [
        FullyConnected(10, 3, depth=3, width=8),
        Residual(10, 3, modules=2, width=6, module_widths=[4]),
        nn.Sequential(nn.Linear(10, 20), nn.ReLU(inplace=True), nn.Linear(20, 6), nn.ReLU(inplace=True)),
    ],
    ids=lambda net: type(net).__name__,
)
@pytest.mark.parametrize("scale", [1.0, 1e25])
def test_a_compiled_net_reads_as_the_eager_one(net, inputs, scale):
    eager = capture_of(net, scale * inputs)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True)
    capture = Capture(compiled)
    for _ in range(2):  # the second pass runs what the first has compiled
        capture.start()
        compiled(scale * inputs)
        readings = capture.stop()
        assert [name for name, _ in readings] == [name for name, _ in eager]
        for ours, theirs in zip(readings, eager, strict=True):
            torch.testing.assert_close(ours.lengths, theirs.lengths, rtol=1e-5, atol=0)
    capture.remove()
