"""Tests of `diagnose` on various modules: nothing is changed, results are reproducible, errors are clear."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from start_training.diagnosis.diagnose import diagnose
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected

HE = VarianceScaling(2.0)


class Everything(nn.Module):
    """A net with gradients, frozen weights, buffers, hooks, batch normalization, dropout, and modules in both modes."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(20, 5)
        )
        self.net[0].bias.requires_grad_(False)
        self.net[1].eval()
        self.net[0].register_forward_hook(lambda *call: None)
        self.net(torch.randn(4, 64)).sum().backward()

    def forward(self, inputs, *, broken=False):
        random.random(), np.random.rand()
        outputs = self.net(inputs)
        if broken:
            raise RuntimeError("half way")
        return outputs


def state(net):
    """Return the whole state of a module and of the global random streams."""
    return (
        {name: tensor.clone() for name, tensor in net.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()},
        {name: (p.requires_grad, p.dtype, p._version) for name, p in net.named_parameters()},
        {name: (module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for name, module in
         net.named_modules()},
        torch.get_rng_state().tolist(),
        random.getstate(),
        tuple(map(str, np.random.get_state())),
    )  # fmt: skip


@pytest.mark.parametrize("initializer", [None, HE, nn.init.orthogonal_], ids=["redrawn", "He", "global stream"])
@pytest.mark.parametrize("broken", [False, True])
def test_the_module_and_the_global_random_streams_do_not_change(initializer, broken, inputs):
    net = Everything()
    before = copy.deepcopy(state(net))
    batch = {"inputs": inputs.clone(), "broken": broken}
    if broken:
        with pytest.raises(ValueError, match="half way"):
            diagnose(net, batch, initializer=initializer, nets=2)
    else:
        diagnose(net, batch, initializer=initializer, nets=2, trial=2)
    torch.testing.assert_close(state(net)[:2], before[:2], rtol=0, atol=0, equal_nan=True)
    assert state(net)[2:] == before[2:]
    assert torch.equal(batch["inputs"], inputs)
    assert not batch["inputs"].requires_grad


def test_the_same_call_gives_the_same_report_and_another_seed_another_one(inputs):
    net = Everything()
    calls = (inputs, 0), ({"inputs": inputs}, 0), ([inputs], 1)
    first, again, other = (str(diagnose(net, batch, seed=seed, nets=2)) for batch, seed in calls)
    assert first == again
    assert first != other


def test_a_report_is_as_wide_as_the_terminal_and_110_columns_at_most(inputs, monkeypatch):
    diagnosis = diagnose(Everything(), inputs, nets=2, trial=False)
    for terminal, width in {"80": 80, "200": 110}.items():
        monkeypatch.setenv("COLUMNS", terminal)
        assert width - 20 < max(map(len, str(diagnosis).splitlines())) <= width


def test_the_first_net_is_the_module_as_it_is(inputs):
    net = FullyConnected(64, 3, depth=3, width=20).double()
    lengths = diagnose(net, inputs, nets=2, trial=False).measurement.lengths
    activation, expected = inputs.double(), [inputs.double().square().mean()]
    for layer in net.hidden:
        activation = layer(activation)
        expected.append(activation.square().mean())
    np.testing.assert_allclose(lengths[0], torch.stack(expected).detach())
    assert (abs(lengths[1, 1:] - lengths[0, 1:]) > 1e-6).all()


def test_nets_so_deep_that_float32_underflows_are_measured(inputs):
    diagnosis = diagnose(
        FullyConnected(64, 10, depth=150, width=40), inputs, nets=3, trial=False
    )  # gradients of e^−270
    assert diagnosis.measurement.backward.known.all()
    assert diagnosis.measured.backward == pytest.approx(-1.79, abs=0.15)


class Cut(nn.Module):
    """A net that works in float32 only and passes no gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, inputs):
        with torch.no_grad():
            return self.second(self.first(inputs.float()))


def test_a_net_that_only_supports_float32_and_passes_no_gradient_is_measured_and_cannot_train(inputs):
    diagnosis = diagnose(Cut(), inputs)
    assert not diagnosis.measurement.backward.known.any()
    assert (diagnosis.verdict, [one.defect for one in diagnosis.defects]) == ("UNHEALTHY", ["detached"])
    assert diagnosis.starts["adam"].answer == "no"


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.encoder = nn.Embedding(20, 16), nn.TransformerEncoderLayer(16, 2, batch_first=True)

    def forward(self, tokens, mask):
        return {"hidden": (self.encoder(self.embedding(tokens), src_mask=mask),), "ids": tokens}


def test_tokens_masks_and_nested_outputs_are_supported():
    mask = nn.Transformer.generate_square_subsequent_mask(7)  # holds −inf
    tokens = torch.randint(20, (5, 7))
    diagnosis = diagnose(Tokens(), {"tokens": tokens, "mask": mask}, modules=["encoder.*"], nets=2, trial=False)
    assert diagnosis.measurement.backward.known.any()


NET, ONES = FullyConnected(64, 3, depth=1, width=2), torch.ones(4, 64)


@pytest.mark.parametrize(
    ("net", "batch", "settings", "message"),
    [
        (NET, ONES, {"nets": 1}, "nets = 1: must be a whole number of at least 2"),
        (NET, ONES, {"modules": ["conv*"]}, "modules = 'conv*': must match one of hidden, "),
        (nn.Sequential(nn.Flatten()), ONES, {}, "Sequential: has neither activations nor modules with weights"),
        (NET, [ONES, ONES, ONES], {}, "batch = shape (4, 64), (4, 64): the net fails on this batch (TypeError: "),
        (NET, ONES[:0], {}, "batch = shape (0, 64): must have at least one sample"),
        (NET, ONES / 0, {}, "batch = shape (4, 64): must not contain NaN or infinite"),
        (NET, "data", {}, "batch = str: must be a tensor, or a tuple or dict of "),
    ],
)
def test_an_error_message_is_one_line(net, batch, settings, message):
    with pytest.raises(ValueError) as error:
        diagnose(net, batch, **settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_net_with_weights_that_are_computed_from_others_is_copied(inputs):
    with pytest.warns(FutureWarning, match="weight_norm"):
        net = nn.Sequential(nn.utils.weight_norm(nn.Linear(64, 20)), nn.ReLU(), nn.Linear(20, 5))
    net(inputs)
    before = net[0].weight
    assert diagnose(net, inputs, nets=2, trial=False).healthy
    assert net[0].weight is before and before.grad_fn is not None
