"""The readings of `Capture` in a forward pass, against activations computed by hand."""

import pytest
import torch
from torch import nn

from start_training.lengths.capture import Capture
from start_training.lengths.layer_choice import choose_layers
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual

EXACT = {"rtol": 1e-6, "atol": 0}


def lengths_of(activation):
    return activation.detach().double().reshape(len(activation), -1).square().mean(1)


def capture_of(net, *inputs, patterns="auto", **keywords):
    """Return the readings of one forward pass."""
    capture = Capture(net, patterns)
    capture.start()
    net(*inputs, **keywords)
    readings = capture.stop()
    capture.remove()
    return readings


def check(readings, expected):
    """Compare readings with the expected name and activation of every layer, with the input first."""
    assert [reading.name for reading in readings] == [name for name, _ in expected]
    for (name, lengths, sampled), (_, activation) in zip(readings, expected, strict=True):
        assert sampled
        torch.testing.assert_close(
            lengths, lengths_of(activation), **EXACT, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture
def inputs(generator):
    return torch.randn(6, 10, generator=generator)


class Calling(nn.Module):
    """A net of modules whose forward pass is a given function."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs, **by_name):
        return self.function(self, *inputs, **by_name)


@pytest.mark.parametrize("dropout", [0.0, 0.9])
def test_a_fully_connected_net_is_measured_after_each_activation_and_before_dropout(inputs, dropout):
    net = FullyConnected(10, 3, widths=[9, 7, 5], dropout=dropout).eval()
    activation, expected = inputs, [("input", inputs)]
    for layer in range(3):
        activation = net.hidden[layer].linear(activation).relu()
        expected.append((f"hidden.{layer}.activation", activation))
    check(capture_of(net, inputs), expected)
    check(capture_of(net.train(), inputs)[:2], expected[:2])


@pytest.mark.parametrize("width, ending", [(10, "relu"), (6, "linear")], ids=["as wide as the input", "embedded"])
def test_a_residual_net_is_measured_after_each_addition(inputs, width, ending):
    net = Residual(10, 3, modules=2, width=width, module_widths=[4], scales=[0.5, 2.0], ending=ending)
    activation = inputs if width == 10 else net.embedding(inputs)
    expected = [("input", activation)]
    for layer, eta in enumerate([0.5, 2.0]):
        first, last = (step.linear for step in net.residual_modules[layer].layers)
        update = last(first(activation).relu())
        activation = activation + eta * (update.relu() if ending == "relu" else update)
        expected.append((f"residual_modules.{layer}", activation))
    check(capture_of(net, inputs), expected)


def test_in_place_activations_are_measured_before_the_next_one_overwrites_them(inputs):
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(inplace=True), nn.Hardtanh(0.1, 0.2, inplace=True))
    linear = net[0](inputs)
    expected = [("input", inputs), ("1", linear.relu()), ("2", linear.relu().clamp(0.1, 0.2))]
    check(capture_of(net, inputs), expected)
    check(capture_of(net, inputs, patterns=["0"]), [("input", inputs), ("0", linear)])


def test_without_activation_modules_the_innermost_modules_with_weights_are_measured(inputs):
    modules = {"first": nn.Linear(10, 8), "norm": nn.LayerNorm(8), "last": nn.Linear(8, 3)}
    net = Calling(lambda net, x: net.last(net.norm(net.first(x)).relu()), **modules)
    first = net.first(inputs)
    expected = [("input", inputs), ("first", first), ("last", net.last(net.norm(first).relu()))]
    check(capture_of(net, inputs), expected)
    modules = {"attention": nn.MultiheadAttention(10, 2), "last": nn.Linear(10, 3)}
    other = Calling(lambda net, x: net.last(net.attention(x, x, x)[0]), **modules)  # calls no submodule
    attended, _ = other.attention(inputs, inputs, inputs)
    check(capture_of(other, inputs), [("input", inputs), ("attention", attended), ("last", other.last(attended))])


def test_the_first_floating_point_tensor_with_a_sample_axis_is_measured(inputs):
    body = Calling(lambda net, x: (x.argmax(1), "a word", [net.linear(input=x), x]), linear=nn.Linear(10, 8))
    head = Calling(lambda net, pair: {"scale": torch.tensor(2.0), "y": net.linear(pair[2][0])}, linear=nn.Linear(8, 3))
    net = Calling(lambda net, inputs: net.head(pair=net.body(x=inputs))["y"], body=body, head=head)
    hidden = net.body.linear(inputs)
    expected = [("input", inputs), ("body", hidden), ("head", net.head.linear(hidden))]
    check(capture_of(net, inputs, patterns=["body", "head"]), expected)
    one_value_each = nn.Sequential(nn.Linear(10, 1), nn.Flatten(0), nn.ReLU())
    check(capture_of(one_value_each, inputs), [("input", inputs), ("2", one_value_each[0](inputs)[:, 0].relu())])
    tokens, words = torch.tensor([[0, 1], [2, 4]]), nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 4), nn.ReLU())
    check(capture_of(words, tokens), [("input", words[0](tokens)), ("2", words[1](words[0](tokens)).relu())])


def test_each_call_of_a_module_is_a_layer(inputs):
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(10, 10), relu, nn.Linear(10, 4), relu, relu)
    first = net[0](inputs).relu()
    last = net[2](first).relu()
    check(capture_of(net, inputs), [("input", inputs), ("1", first), ("1:2", last), ("1:3", last)])


def test_modules_that_match_a_pattern_are_listed_in_the_order_of_their_calls(inputs):
    net = FullyConnected(10, 3, depth=3, width=5)
    names = [reading.name for reading in capture_of(net, inputs, patterns=["readout", "hidden.[02].linear"])]
    assert names == ["input", "hidden.0.linear", "hidden.2.linear", "readout"]


@pytest.mark.parametrize(
    "patterns, message",
    [(["hidden.*", "hiden.*"], r"'hiden\.\*': must match one of hidden, hidden\.0,"), ([], r"\[\]")],
)
def test_a_pattern_that_matches_nothing_is_an_error(patterns, message):
    with pytest.raises(ValueError, match=rf"^layers = {message}"):
        Capture(FullyConnected(10, 3, depth=1, width=5), patterns)
    with pytest.raises(ValueError, match=r"^Sequential: has neither activations nor modules with weights"):
        Capture(nn.Sequential(nn.Flatten(), nn.Dropout()))


def test_softmax_is_not_measured_as_an_activation():
    net = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.Softmax(dim=1), nn.Tanh())
    assert [*choose_layers(net).kinds] == ["1", "4"]


def test_a_capture_measures_only_between_start_and_stop_and_not_after_remove(inputs):
    net = FullyConnected(10, 3, depth=2, width=5)
    capture = Capture(net)
    net(inputs)
    assert capture.stop() == []
    capture.start()
    net(inputs)
    capture.start()  # discards the unfinished pass
    net(2 * inputs)
    readings = capture.stop()
    assert len(readings) == 3
    check(readings[:1], [("input", 2 * inputs)])
    net(inputs)
    assert capture.stop() == []
    capture.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_measuring_changes_neither_outputs_nor_gradients(inputs):
    net = nn.Sequential(nn.Linear(10, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))

    def outputs_and_gradients():
        net.zero_grad()
        outputs = net(inputs)
        outputs.square().sum().backward()
        return outputs.detach(), [parameter.grad.clone() for parameter in net.parameters()]

    plain, capture = outputs_and_gradients(), Capture(net)
    capture.start()
    measured = outputs_and_gradients()
    assert not any(reading.lengths.requires_grad for reading in capture.stop())
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
def test_a_compiled_net_has_the_readings_of_the_eager_net(net, inputs):
    eager_by_scale = {scale: capture_of(net, scale * inputs) for scale in (1.0, 1e25)}
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True)
    capture = Capture(compiled)
    for scale in (1.0, 1.0, 1e25):  # the first pass compiles, the others do not
        eager = eager_by_scale[scale]
        capture.start()
        compiled(scale * inputs)
        readings = capture.stop()
        assert [reading.name for reading in readings] == [reading.name for reading in eager]
        for ours, theirs in zip(readings, eager, strict=True):
            torch.testing.assert_close(ours.lengths, theirs.lengths, rtol=1e-5, atol=0)
    capture.remove()
