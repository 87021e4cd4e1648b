"""ActivationLengths on nets of any kind: layers, samples, and growth over time, against computations by hand."""

import copy

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from start_training.callbacks.activation_lengths import ActivationLengths
from tests.callbacks.tasks import fit, small

pytestmark = [small, pytest.mark.filterwarnings("ignore:ActivationLengths covers", "ignore:enable_nested_tensor")]
TOKENS, SAMPLES, WIDTH, STEPS = 5, 16, 8, 3


class Task(pl.LightningModule):
    """Trains a net with SGD to small outputs, on fixed batches; stores the outputs of its modules before each step."""

    def __init__(self, net, batches, watched=()):
        super().__init__()
        self.net, self.batches, self.watched = net, batches, watched
        self.seen: dict[str, list[torch.Tensor]] = {name: [] for name in watched}

    def training_step(self, batch, batch_idx):
        handles = [
            self.net.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: self.seen[name].append(
                    (output if isinstance(output, torch.Tensor) else output[0]).detach().clone()
                )
            )
            for name in self.watched
        ]
        output = self.net(batch)
        for handle in handles:
            handle.remove()
        output = output if isinstance(output, torch.Tensor) else output[0]
        return output.square().mean()

    def train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def recorded(net, batches, tmp_path, watched=(), **settings):
    task, callback = Task(net, batches, watched), ActivationLengths(tmp_path, **settings)
    fit(task, tmp_path, callback, max_epochs=1)
    lengths, steps = (pd.read_parquet(tmp_path / name) for name in ("lengths", "steps"))
    assert steps["step"].tolist() == list(range(len(batches)))
    assert lengths[lengths["layer"] == 0]["name"].unique().tolist() == ["input"]
    return task, callback, lengths, steps


def check(lengths, name, outputs, axis):
    """Compare the rows of a layer with its outputs, whose samples are on the given axis."""
    rows = lengths[lengths["name"] == name]
    assert len(rows) == len(outputs)
    for (_, row), output in zip(rows.iterrows(), outputs, strict=True):
        by_sample = output.movedim(axis, 0).flatten(1).double().square().mean(1)
        assert row["count"] == len(by_sample)
        variance = by_sample.var() if len(by_sample) > 1 else np.nan
        np.testing.assert_allclose([row["mean"], row["variance"]], [by_sample.mean(), variance], rtol=1e-5)


def time_first(count=SAMPLES):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(TOKENS, count, WIDTH, generator=generator) for _ in range(STEPS)]


def tokens(*shape):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(11, shape, generator=generator) for _ in range(STEPS)]


@pytest.mark.parametrize("samples", [SAMPLES, TOKENS])  # as many samples as time steps, too
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_samples_of_a_recurrent_module_are_on_the_second_axis(tmp_path, kind, samples):
    net = getattr(nn, kind)(WIDTH, 6)
    task, callback, lengths, _ = recorded(net, time_first(samples), tmp_path, watched=[""])
    check(lengths, kind, task.seen[""], axis=1)
    check(lengths, "input", task.batches, axis=1)
    first, last = (step.double().square().mean() for step in (task.seen[""][0][0], task.seen[""][0][-1]))
    assert callback.summary()["growth_over_time"][kind] == pytest.approx(float(last / first))


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(WIDTH, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 2))

    def forward(self, x):  # (samples, steps, units)
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


def test_a_recurrent_cell_is_one_layer_over_its_time_steps(tmp_path):
    batches = [batch.transpose(0, 1) for batch in time_first()]
    task, callback, lengths, _ = recorded(Cell(), batches, tmp_path, watched=["cell"])
    states = torch.stack(task.seen["cell"]).reshape(STEPS, TOKENS, SAMPLES, 6)
    check(lengths, "cell", [*states], axis=1)
    assert lengths["name"].unique().tolist() == ["input", "cell", "head.0"]
    growth = callback.summary()["growth_over_time"]["cell"]
    assert growth == pytest.approx(float(states[0, -1].square().mean() / states[0, 0].square().mean()), rel=1e-5)


def test_samples_of_a_transformer_are_on_the_second_axis_and_its_blocks_are_layers(tmp_path):
    blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout=0.0), 2)
    net, names = nn.Sequential(blocks, nn.Linear(WIDTH, 4), nn.ReLU()), ["0.layers.0", "0.layers.1", "2"]
    task, _, lengths, _ = recorded(net, time_first(), tmp_path, watched=names)
    for name in names:
        check(lengths, name, task.seen[name], axis=1)
    assert lengths["name"].unique().tolist() == ["input", *names]


class Gpt(nn.Module):
    """A GPT-2 of two blocks: position embeddings have one sample."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(11, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.blocks = nn.ModuleList(Gpt.Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, 11)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.attention = nn.LayerNorm(WIDTH), nn.MultiheadAttention(WIDTH, 2, batch_first=True)
            self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))

        def forward(self, x):
            normed = self.norm(x)
            x = x + self.attention(normed, normed, normed, need_weights=False)[0]
            return x + self.mlp(x)

    def forward(self, tokens):
        x = F.silu(self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]).unsqueeze(0)))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@pytest.mark.parametrize("samples", [SAMPLES, TOKENS, 1])
@pytest.mark.parametrize("layers", [["blocks.?", "*F.silu"], ["positions", "blocks.?"]])
def test_a_layer_without_samples_has_a_mean_and_no_variance(tmp_path, layers, samples):
    watched = ["tokens", "positions", "blocks.0", "blocks.1"]
    task, callback, lengths, steps = recorded(Gpt(), tokens(samples, TOKENS), tmp_path, watched, layers=layers)
    check(lengths, "input", task.seen["tokens"], axis=0)
    for name in watched[2:]:
        check(lengths, name, task.seen[name], axis=0)
    assert np.isfinite(steps["relative_layer_variance"]).all()
    assert callback.summary()["measured_layers"]["not_covered"] == ["head"]
    if layers[0] == "positions":
        rows = lengths[lengths["name"] == "positions"]
        means = [output.double().square().mean() for output in task.seen["positions"]]
        np.testing.assert_allclose(rows["mean"], means, rtol=1e-5)
        assert rows["variance"].isna().all()


class Router(nn.Module):
    """Flattens samples and tokens, as a mixture of experts does, and attention windows."""

    def __init__(self):
        super().__init__()
        self.body, self.route = nn.Linear(WIDTH, WIDTH), nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU())

    def forward(self, x):
        return self.route(F.relu(self.body(x)).flatten(0, 1))


def test_rows_of_flattened_tokens_belong_to_their_sample(tmp_path):
    batches = [batch.transpose(0, 1).contiguous() for batch in time_first()]
    task, _, lengths, _ = recorded(Router(), batches, tmp_path, watched=["route.1"])
    check(lengths, "route.1", [rows.unflatten(0, (SAMPLES, TOKENS)) for rows in task.seen["route.1"]], axis=0)
    assert lengths["name"].unique().tolist() == ["input", "F.relu", "route.1"]


def test_the_axis_of_samples_can_be_given(tmp_path):
    net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
    task, _, lengths, _ = recorded(net, time_first(), tmp_path, watched=["1"], sample_axis=1)
    check(lengths, "1", task.seen["1"], axis=1)
    _, _, first, _ = recorded(net, time_first(), tmp_path / "first", watched=["1"])  # the control
    assert set(first["count"]) == {TOKENS}


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 6, batch_first=True)

    def forward(self, x):
        counts = torch.arange(len(x)) % TOKENS + 1
        packed = nn.utils.rnn.pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
        return self.lstm(packed)[0].data


def test_samples_of_different_sizes_are_measured_without_padding(tmp_path):
    batches = [batch.transpose(0, 1).contiguous() for batch in time_first()]
    net = Packed()
    outputs, _ = nn.utils.rnn.pad_packed_sequence(
        net.lstm(nn.utils.rnn.pack_padded_sequence(
            batches[0], torch.arange(SAMPLES) % TOKENS + 1, batch_first=True, enforce_sorted=False
        ))[0], batch_first=True
    )  # fmt: skip
    _, _, lengths, _ = recorded(net, batches, tmp_path)
    by_sample = [sample[: index % TOKENS + 1].double().square().mean() for index, sample in enumerate(outputs.detach())]
    row = lengths[(lengths["name"] == "lstm") & (lengths["step"] == 0)].iloc[0]
    assert row["count"] == SAMPLES
    np.testing.assert_allclose(row[["mean", "variance"]].astype(float), [np.mean(by_sample), np.var(by_sample, ddof=1)])


def test_a_low_coverage_warns_and_a_high_one_is_only_printed(tmp_path, capsys):
    net = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(6)))
    with pytest.warns(UserWarning, match="covers 20% of the net: 1 chosen layer; 1 of 6 weighted modules"):
        recorded(net, [torch.randn(4, WIDTH)], tmp_path / "low", layers=["0.1"])
    recorded(net, [torch.randn(4, WIDTH)], tmp_path / "high")
    assert (
        "ActivationLengths: 6 activations; 6 of 6 weighted modules lie between measured layers\n"
        in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which torch.compile reads
@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_net_has_the_layers_and_lengths_of_the_eager_one(tmp_path, whole):
    net = Gpt()
    again = copy.deepcopy(net)
    layers = ["blocks.?"]  # the function is not seen in a compiled net
    eager = recorded(net, tokens(4, TOKENS), tmp_path / "eager", layers=layers)[2]
    torch.compiler.reset()
    if whole:
        again = torch.compile(again, backend="eager")
    else:
        for block in again.blocks:
            block.compile(backend="eager")
    compiled = recorded(again, tokens(4, TOKENS), tmp_path / "compiled")[2]
    assert eager["name"].tolist() == compiled["name"].tolist()
    np.testing.assert_allclose(compiled["mean"], eager["mean"], rtol=1e-4)
