"""What an initialization leaves as it was: it says so, and warns of layers of unknown kinds."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from start_training.initializers.initialize import initialize_
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.phase_point import PhasePoint
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.initializers.weights import readout_of, weights_of

HE = VarianceScaling(2.0)


class LoRA(nn.Module):
    """A dense layer beside a low-rank adapter whose second matrix is zero."""

    def __init__(self, width, rank=2, *, frozen=False):
        super().__init__()
        self.base, self.A = nn.Linear(width, width), nn.Linear(width, rank, bias=False)
        self.B = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.B.weight)
        self.base.requires_grad_(not frozen)

    def forward(self, inputs):
        return self.base(inputs) + self.B(self.A(inputs))


class Unknown(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.mixing, self.scale = nn.Parameter(torch.ones(size, size)), nn.Parameter(torch.ones(size))


class Frozen(nn.Module):
    """A net with a bias that is frozen, and a layer that is."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.a.bias.requires_grad_(False)
        self.b.requires_grad_(False)


def drawn_of(net, initializer=HE, **settings):
    """Initialize a net; return what was drawn, what was left and why, and the names of the values that changed."""
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    report = initialize_(net, initializer, generator=torch.Generator().manual_seed(0), **settings)
    changed = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    return [drawn.name for drawn in report.drawn], {left.name: left.reason for left in report.left}, changed


@pytest.mark.parametrize("frozen", [False, True])
def test_the_zero_matrix_of_an_adapter_stays_zero_and_is_no_readout(frozen):
    net = nn.Sequential(LoRA(8, frozen=frozen), nn.ReLU(), LoRA(8, frozen=frozen))
    assert readout_of(net) is net[2].base
    if frozen:
        with pytest.warns(UserWarning, match="net = Sequential: no weight is drawn .*frozen"):
            drawn, left, changed = drawn_of(net)
        assert not drawn and not changed
        assert left["0.A"] == "low-rank adapter of 0.base, which is frozen" and left["0.base"] == "frozen"
    else:
        drawn, left, changed = drawn_of(net)
        assert drawn == ["0.base", "0.A", "2.base", "2.A"]
        assert left["0.B"] == left["2.B"] == "all zeros, as the end of a branch"
    assert not net[0].B.weight.any() and "0.B.weight" not in changed


def test_adapters_are_known_by_their_names_too():
    layer = nn.Linear(4, 4)
    layer.lora_A, layer.lora_B = nn.Linear(4, 2, bias=False), nn.ModuleDict({"default": nn.Linear(2, 4, bias=False)})
    names, left, changed = drawn_of(nn.Sequential(layer, nn.Linear(4, 2)))
    assert names == ["0", "1"] and changed == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert left == {"0.lora_A": "low-rank adapter", "0.lora_B.default": "low-rank adapter"}


def test_a_zero_readout_is_drawn_and_so_is_a_net_of_zeros():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.zeros_(net[4].weight)
    assert readout_of(net) is net[4] and drawn_of(net)[0] == ["0", "2", "4"]
    nn.init.zeros_(net[2].weight)  # as the last layer of a branch of Fixup
    assert drawn_of(net)[:2] == (["0", "4"], {"2": "all zeros, as the end of a branch"})
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    assert drawn_of(net)[0] == ["0", "2", "4"]


def test_frozen_parameters_stay_and_the_others_of_the_same_layer_do_not():
    _, left, changed = drawn_of(Frozen())
    assert left == {"a.bias": "frozen", "b": "frozen"}
    assert changed == {"a.weight", "c.weight", "c.bias"}


@pytest.mark.parametrize(
    "settings, drawn",
    [
        ({"only": "0"}, ["0"]),
        ({"only": ["*.query", "2"]}, ["1.in_proj_weight.query", "2"]),
        ({"skip": ["1*"]}, ["0", "2"]),
        ({"skip": "1.in_proj_weight"}, ["0", "1.out_proj", "2"]),
        ({"only": ["0", "1*"], "skip": ["1.*"]}, ["0"]),
    ],
)
def test_patterns_choose_layers_parts_of_them_or_parameters(settings, drawn):
    net = nn.Sequential(nn.Linear(8, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 8))
    names, left, changed = drawn_of(net, **settings)
    assert names == drawn and set(left.values()) <= {"in skip", "not in only"}
    assert len(names) + len(left) == 6
    assert ("1.in_proj_weight" in changed) == any("query" in name for name in names)


def test_a_pattern_that_matches_nothing_is_an_error_that_names_the_weights():
    with pytest.raises(ValueError, match=r"^skip = 'readuot': must match the name of a weight; there are 0, 2"):
        drawn_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), skip=["readuot"])


def test_shared_weights_are_drawn_once_for_the_first_layer_that_multiplies_by_them():
    embedding, first, second, readout = nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 50)
    second.weight, readout.weight = first.weight, embedding.weight
    names, left, _ = drawn_of(nn.Sequential(embedding, first, second, readout))
    assert names == ["1", "3"] and left == {"2": "shared with 1"} and not second.bias.any()
    assert 8 * float(embedding.weight.detach().var()) == pytest.approx(2, rel=0.3)


def test_norms_embeddings_and_vectors_are_named_without_a_warning():
    net = nn.Sequential(nn.Embedding(90, 8), nn.LayerNorm(8), nn.PReLU(8), nn.Linear(8, 4))
    net.register_parameter("position_embedding", nn.Parameter(torch.ones(9, 8)))
    assert drawn_of(net, strict=True)[1] == {
        "position_embedding": "a table of Sequential",
        "0.weight": "embedding",
        "1.weight": "normalization (LayerNorm)",
        "1.bias": "normalization (LayerNorm)",
        "2.weight": "a vector of PReLU",
    }


def test_more_than_one_percent_of_unknown_weights_is_a_warning_and_with_strict_an_error():
    net = nn.Sequential(Unknown(4), nn.Linear(4, 300, bias=False))  # 16 of 1,216
    with pytest.warns(UserWarning, match=r"^net = Sequential: 1% of .* \(0.mixing: unknown module Unknown\)"):
        names, left, changed = drawn_of(net)
    assert names == ["1"] and changed == {"1.weight"}
    assert left == {"0.mixing": "unknown module Unknown", "0.scale": "a vector of Unknown"}
    before = net[1].weight.detach().clone()
    with pytest.raises(ValueError, match=r"^net = Sequential: 1% .*0.mixing: unknown module Unknown.*strict=True"):
        drawn_of(net, strict=True)
    assert torch.equal(before, net[1].weight)
    with warnings.catch_warnings(action="error"):
        assert drawn_of(net, skip="0*")[1]["0.mixing"] == "in skip"
        assert drawn_of(net, only="1", strict=True)[1]["0.mixing"] == "not in only"
        assert drawn_of(net, skip=["0.mixing"], strict=True)[1]["0.scale"] == "a vector of Unknown"
    assert "0.mixing" in drawn_of(nn.Sequential(Unknown(4), nn.Linear(4, 500)), strict=True)[1]  # 16 of 2,016


def test_a_weight_of_an_unknown_hook_is_left_and_named():
    layer = nn.Linear(4, 4)
    original = layer.weight
    del layer._parameters["weight"]
    layer.register_parameter("raw", original)
    layer.weight = original.detach() * 2
    with pytest.warns(UserWarning, match="computed by an unknown hook"):
        assert drawn_of(nn.Sequential(layer, nn.Linear(4, 4)))[0] == ["1"]


@pytest.mark.parametrize("lazy", [lambda: nn.LazyLinear(6), lambda: nn.LazyConv2d(6, 3), lambda: nn.LazyBatchNorm2d()])
def test_lazy_layers_get_their_shapes_from_a_batch(lazy):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity() if isinstance(lazy(), nn.LazyLinear) else lazy())
    net.extend([nn.Flatten(), nn.LazyLinear(5)])
    first = net[-1] if isinstance(lazy(), nn.LazyLinear) else net[1]
    name = type(first).__name__
    with pytest.raises(ValueError, match=rf"^net = Sequential: layer \d \({name}\) has no weights yet; pass a batch"):
        initialize_(net, HE, generator=torch.Generator())
    before = torch.get_rng_state()
    report = initialize_(net, HE, generator=torch.Generator().manual_seed(0), batch=torch.ones(2, 3, 8, 8))
    assert torch.equal(before, torch.get_rng_state()) and net.training
    assert [drawn.name for drawn in report.drawn] == [weight.name for weight in weights_of(net)]
    assert net(torch.ones(2, 3, 8, 8)).shape == (2, 5)


def test_a_net_on_the_meta_device_gets_values_and_shared_weights_stay_shared():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
        net[2].weight = net[0].weight
    with pytest.raises(ValueError, match=r"^net = Sequential: layer 0 \(Linear\) has no weights yet"):
        drawn_of(net)
    report = initialize_(net, HE, generator=torch.Generator().manual_seed(0), batch=torch.ones(3, 4))
    assert [drawn.name for drawn in report.drawn] == ["0", "3"] and net[2].weight is net[0].weight
    assert (net[1].weight == 1).all() and net(torch.ones(3, 4)).isfinite().all()
    with torch.device("meta"):
        net = nn.Sequential(Unknown(2))
    with pytest.raises(ValueError, match=r"layer 0 \(Unknown\) cannot be given weights .*no reset_parameters"):
        initialize_(net, HE, generator=torch.Generator(), batch=torch.ones(3, 4))


@pytest.mark.parametrize("initializer", [HE, Orthogonal(), TorchDefault(), PhasePoint(1.0, 0.5)])
def test_a_stride_changes_only_the_fan_in(initializer):
    """The mean and the variance are those for fan_in / stride."""
    layer, mean = nn.ConvTranspose1d(60, 40, 4, stride=2), 1 / 120 if isinstance(initializer, PhasePoint) else 0
    [drawn] = initialize_(layer, initializer, generator=torch.Generator().manual_seed(0)).drawn
    assert drawn.kappa == pytest.approx(drawn.asked_kappa, rel=0.06)
    assert float(layer.weight.detach().mean()) == pytest.approx(mean, abs=4 * (drawn.kappa / 120 / 9600) ** 0.5)


def test_the_text_of_a_report_says_what_was_drawn_and_what_was_left():
    with warnings.catch_warnings(action="ignore"):
        net = nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 8)), Unknown(4), nn.Linear(8, 2))
        prune.random_unstructured(net[2], "weight", 0.5)
        text = str(initialize_(net, HE, generator=torch.Generator().manual_seed(0)))
    for line in ("drew 2 weights, left 2", "not the asked law", "computed by SpectralNorm", "left 1.mixing: unknown"):
        assert line in text
