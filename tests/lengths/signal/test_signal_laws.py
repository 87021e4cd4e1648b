"""What is measured of the signal against its definition, or against autograd by hand; each with a negative control."""

import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, nn

from start_training.lengths.layer_choice import choose_layers
from start_training.lengths.signal.attention_entropy import AttentionEntropy
from start_training.lengths.signal.cosine import sample_distance, token_distance
from start_training.lengths.signal.paths import PathNode, longest_paths
from start_training.lengths.signal.sensitivity import SIZE, sensitivity, slightly_changed
from start_training.lengths.signal.time_gradients import TimeGradients


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_distances_are_means_over_pairs_of_one_minus_cosine():
    vectors = torch.randn(6, 5, 4).double()
    flat = vectors.flatten(1)
    by_hand = torch.stack([1 - F.cosine_similarity(a, b, dim=0) for a, b in combinations(flat, 2)]).mean()
    assert sample_distance(vectors) == pytest.approx(by_hand.item())
    pairs = [1 - F.cosine_similarity(a, b, dim=0) for one in vectors for a, b in combinations(one, 2)]
    assert token_distance(vectors) == pytest.approx(torch.stack(pairs).mean().item())
    scaled = vectors * torch.logspace(-200, 150, 6, dtype=torch.float64)[:, None, None]  # lengths do not count
    assert sample_distance(scaled) == pytest.approx(by_hand.item())
    near = torch.ones(6, 20).double() + 1e-9 * vectors.flatten(1)  # not lost to rounding
    assert 0 < sample_distance(near) < 1e-17 < sample_distance(torch.ones(6, 20) + 1e-3 * vectors.flatten(1))
    assert math.isnan(sample_distance(vectors[:1])) and math.isnan(token_distance(vectors[:, :1]))


class Attends(nn.Module):
    """Attention over x, computed in one of the ways in which people write it."""

    def __init__(self, way, heads=2, width=8):
        super().__init__()
        self.way, self.heads = way, heads
        self.packed = nn.MultiheadAttention(width, heads, batch_first=True)
        nn.init.normal_(self.packed.in_proj_weight, std=1.0)
        nn.init.normal_(self.packed.in_proj_bias)

    def scores(self, x):
        weight, bias = self.packed.in_proj_weight, self.packed.in_proj_bias
        query, key, value = F.linear(x, weight, bias).chunk(3, -1)
        return [one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (query, key, value)]

    def forward(self, x, mask=None, causal=False):
        if self.way == "packed":
            return self.packed(x, x, x, attn_mask=None if mask is None else ~mask, need_weights=False)[0]
        query, key, value = self.scores(x)
        if self.way == "fused":
            return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
        if self.way == "grouped":
            return F.scaled_dot_product_attention(query, key[:, :1], value[:, :1], enable_gqa=True)
        scores = query @ key.mT / query.shape[-1] ** 0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        if self.way == "einsum":
            return torch.einsum("bhqk,bhkd->bhqd", weights, value)
        return F.dropout(weights, 0.5).to(x.dtype) @ value

    def entropy(self, x, mask=None):
        query, key, _ = self.scores(x)
        key = key[:, :1] if self.way == "grouped" else key
        scores = query @ key.mT / query.shape[-1] ** 0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        keys = x.shape[1] if mask is None else int(mask.sum(-1).max())
        return (torch.special.entr(weights).sum(-1) / math.log(keys)).mean().item()


CAUSAL = torch.ones(5, 5, dtype=torch.bool).tril()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("way", ["packed", "fused", "grouped", "by hand", "einsum"])
def test_entropy_of_attention_is_that_of_its_weights(way, masked):
    net, x = Attends(way), torch.randn(3, 5, 8)
    mask = CAUSAL if masked and way != "grouped" else None
    with AttentionEntropy(net) as attention:
        net(x, mask)
    [(_, [entropy])] = attention.entropies.items()
    assert entropy == pytest.approx(net.entropy(x, mask), abs=1e-5)
    assert abs(entropy - net.entropy(2 * x, mask)) > 0.01  # sharper attention is told apart


def test_causal_attention_equals_its_mask_and_a_softmax_over_classes_is_no_attention():
    net, x = Attends("fused"), torch.randn(3, 5, 8)
    with AttentionEntropy(net) as attention:
        net(x, causal=True)
    assert attention.entropies["net" if "net" in attention.entropies else ""][0] == pytest.approx(
        net.entropy(x, CAUSAL)
    )
    classifier = nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1))
    with AttentionEntropy(classifier) as attention:
        classifier(x)
    assert not attention.entropies


class Loop(nn.Module):
    """A cell that is called once for each time step; without recurrence, each call starts from zeros."""

    def __init__(self, cell, recurrent=True):
        super().__init__()
        self.cell, self.recurrent = cell, recurrent

    def forward(self, inputs):
        state, self.states = torch.zeros(len(inputs), 6), []
        for step in range(inputs.shape[1]):
            state = self.cell(inputs[:, step], state if self.recurrent else torch.zeros(len(inputs), 6))
            self.states.append(state)
        return state


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 6)

    def forward(self, x, state):
        return torch.tanh(self.a(x) + self.b(state))


def growth_by_hand(output, first, last, cotangent):
    near, far = torch.autograd.grad(output, [last, first], cotangent, retain_graph=True)
    return 2 * math.log(far.norm() / near.norm())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_through_time_of_recurrent_modules(kind, both, batch_first):
    net = kind(3, 6, batch_first=batch_first, bidirectional=both)
    inputs = torch.randn(4, 9, 3) if batch_first else torch.randn(9, 4, 3)
    with TimeGradients(net) as gradients:
        net(inputs)
    [measured] = gradients.measure(Generator().manual_seed(1))
    steps = [one.requires_grad_() for one in inputs.unbind(1 if batch_first else 0)]
    output = net(torch.stack(steps, 1 if batch_first else 0))[0].select(1 if batch_first else 0, -1)[..., :6]
    cotangent = torch.randn(output.shape, generator=Generator().manual_seed(1))
    by_hand = growth_by_hand(output, steps[0], steps[-1], cotangent)
    assert (measured.steps, measured.growth) == (9, pytest.approx(by_hand, rel=1e-3))
    assert abs(measured.growth - growth_by_hand(output, steps[4], steps[-1], cotangent)) > 1  # not of a later step


@pytest.mark.parametrize("cell", [lambda: nn.RNNCell(3, 6), lambda: nn.GRUCell(3, 6), Own])
def test_gradients_through_time_of_cells_in_a_loop(cell):
    net, inputs = Loop(cell()), torch.randn(4, 9, 3)
    with TimeGradients(net) as gradients:
        net(inputs)
    [measured] = gradients.measure(Generator().manual_seed(1))
    cotangent = torch.randn(4, 6, generator=Generator().manual_seed(1))
    by_hand = growth_by_hand(net.states[-1], net.states[0], net.states[-1], cotangent)
    assert (measured.name, measured.steps) == ("cell", 9) and measured.growth == pytest.approx(by_hand, rel=1e-3)
    without = Loop(cell(), recurrent=False)
    with TimeGradients(without) as gradients:
        without(inputs)
    assert not gradients.measure(Generator().manual_seed(1))


def test_a_small_change_grows_by_the_linear_map_and_not_more():
    """Of a linear net, D_d / D_0 is that of its matrix, whatever the size of the change; of tanh it is not."""
    net, x = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)).double(), torch.randn(20, 6).double()
    changed = slightly_changed(x, Generator().manual_seed(0))
    assert (changed - x).std().item() == pytest.approx(SIZE * x.std().item(), rel=0.2)
    choice = choose_layers(net, "weights", batch=x)
    growth = sensitivity(net, choice, lambda: net(x), lambda: net(changed))

    def relative(a, b):
        return (b - a).square().sum() / (a - a.mean(0)).square().sum()

    by_hand = torch.log(relative(net(x), net(changed)) / relative(x, changed)).item()
    assert growth == pytest.approx(by_hand, rel=1e-6)
    further = sensitivity(net, choice, lambda: net(x), lambda: net(x + 100 * (changed - x)))
    assert further == pytest.approx(growth, rel=1e-6)
    bent = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)).double()
    choice = choose_layers(bent, "weights", batch=x)
    near = sensitivity(bent, choice, lambda: bent(x), lambda: bent(changed))
    far = sensitivity(bent, choice, lambda: bent(x), lambda: bent(x + 3000 * (changed - x)))
    assert abs(near - far) > 0.05
    assert math.isnan(sensitivity(bent, choice, lambda: bent(x), lambda: bent(x)))  # no change


def test_paths_of_towers_and_of_nets_with_skips():
    def chain(start, count, inputs):
        nodes = []
        for step in range(count):
            nodes.append(PathNode("", 1 << (start + step), inputs))
            inputs |= nodes[-1].bits
        return nodes, inputs

    first, reach = chain(0, 3, 0)
    second, other = chain(3, 2, 0)
    assert longest_paths([*first, *second]) == [(0, 1, 2), (3, 4)]  # towers are never one path
    joined = PathNode("", 1 << 5, reach | other)
    assert longest_paths([*first, *second, joined]) == [(0, 1, 2, 5), (3, 4, 5)]
    dense = [PathNode("", 1 << step, (1 << step) - 1) for step in range(6)]  # DenseNet: each feeds all later ones
    assert longest_paths(dense) == [tuple(range(6))]
    down, reach = chain(0, 2, 0)  # U-Net: what goes around the bottom does not make a path of its own
    bottom = PathNode("", 1 << 2, reach)
    up = PathNode("", 1 << 3, reach | bottom.bits)
    assert longest_paths([*down, bottom, up]) == [(0, 1, 2, 3)]
    other_kind = bottom._replace(kind="blocks")
    assert longest_paths([*down, other_kind, up]) == [(0, 1, 3), (2,)]  # only like with like
