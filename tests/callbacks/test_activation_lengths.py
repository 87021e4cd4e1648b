"""The callback in anyone's own Trainer, on nets of their own, against lengths computed by hand."""

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from src.callbacks.activation_lengths import ActivationLengths, measured_net

BATCHES, SAMPLES = 6, 16


class Task(pl.LightningModule):
    """Somebody's LightningModule around a net; batches come in order, so that a test knows them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.seen: list[list[torch.Tensor]] = []

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        self.seen.append(self.lengths_by_hand(inputs))
        return cross_entropy(self.net(inputs), targets)

    def validation_step(self, batch, batch_idx):
        self.net(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)

    @torch.no_grad()
    def lengths_by_hand(self, inputs):
        """Layer 0 and each ReLU of a Sequential of Linear and ReLU, in float64, without calling any module."""
        found, activation = [inputs.double().square().mean(1)], inputs.double()
        layers = getattr(self.net, "_orig_mod", self.net)
        for linear in [layer for layer in layers if isinstance(layer, nn.Linear)][:-1]:
            activation = (activation @ linear.weight.double().T + linear.bias.double()).clamp(min=0)
            found.append(activation.square().mean(1))
        return found


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))


def loader() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCHES * SAMPLES, 8, generator=generator)
    return DataLoader(TensorDataset(inputs, torch.randint(3, (len(inputs),), generator=generator)), SAMPLES)


def fit(task: pl.LightningModule, directory, *, callback=None, **options):
    """Train, with a sanity check and a validation that nobody should record, and read what was recorded."""
    callback = callback or ActivationLengths(directory)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], default_root_dir=directory, **options,
    )  # fmt: skip
    trainer.fit(task, loader(), loader())
    return pd.read_parquet(directory / "lengths"), pd.read_parquet(directory / "steps")


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # a test's loader needs none
    "ignore:.*smaller than the logging interval",
)


def by_hand(task: Task, micro_batches: int = 1) -> list[list[np.ndarray]]:
    """For each step, each layer's lengths over the pooled micro-batches."""
    starts = range(0, len(task.seen), micro_batches)
    return [[torch.cat(layer).numpy() for layer in zip(*task.seen[i : i + micro_batches], strict=True)] for i in starts]


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_every_step_is_what_one_computes_by_hand(tmp_path, micro_batches):
    task = Task(mlp())
    lengths, steps = fit(task, tmp_path, accumulate_grad_batches=micro_batches)
    expected = by_hand(task, micro_batches)
    assert len(steps) == len(expected) == -(-BATCHES // micro_batches)
    assert lengths["name"][:3].tolist() == ["input", "1", "3"]
    for step, layers in enumerate(expected):
        rows = lengths[lengths["step"] == step]
        assert (rows["count"] == len(layers[0])).all()
        np.testing.assert_allclose(rows["mean"], [layer.mean() for layer in layers], rtol=1e-6)
        np.testing.assert_allclose(rows["variance"], [layer.var(ddof=1) for layer in layers], rtol=1e-5)
        hidden = np.stack(layers[1:])
        np.testing.assert_allclose(steps["layer_variance"][step], hidden.var(0).mean(), rtol=1e-5)
        relative = (hidden.var(0) / hidden.mean(0) ** 2).mean()
        np.testing.assert_allclose(steps["relative_layer_variance"][step], relative, rtol=1e-5)


def test_accumulation_does_not_divide_the_recorded_loss(tmp_path):
    _, single = fit(Task(mlp()), tmp_path / "single")
    _, pooled = fit(Task(mlp()), tmp_path / "pooled", accumulate_grad_batches=2)
    assert pooled["loss"][0] == pytest.approx(single["loss"][0], rel=0.2)  # half of it would be far off


def test_fewer_steps_and_shorter_flushes_record_the_same_numbers(tmp_path):
    every, _ = fit(Task(mlp()), tmp_path / "every")
    callback = ActivationLengths(tmp_path / "some", every_n_steps=2, flush_every_n_steps=1)
    some, steps = fit(Task(mlp()), tmp_path / "some", callback=callback)
    assert steps["step"].tolist() == [0, 2, 4]
    chosen = every[every["step"] % 2 == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, chosen, check_exact=True)


def test_rows_are_on_disk_at_each_flush(tmp_path):
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            parts = list((tmp_path / "steps").glob("*.parquet"))
            seen.append(sum(len(pd.read_parquet(part)) for part in parts))

    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False,
                         callbacks=[ActivationLengths(tmp_path, flush_every_n_steps=2), Look()])  # fmt: skip
    trainer.fit(Task(mlp()), loader(), loader())
    assert seen == [0, 2, 2, 4, 4, 6]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, inputs):
        return self.last(relu(self.first(inputs)))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.readout = mlp()[:4], nn.Linear(12, 3)

    def forward(self, inputs):
        return self.readout(checkpoint(self.body, inputs, use_reentrant=False))


class Direct(Task):
    """Layers in the LightningModule itself, and no activation modules."""

    def __init__(self) -> None:
        super().__init__(Functional())
        self.extra = nn.Linear(3, 3)

    def lengths_by_hand(self, inputs):
        return []

    def training_step(self, batch, batch_idx):
        return cross_entropy(self.extra(self.net(batch[0])), batch[1])


class Unseen(Task):
    def lengths_by_hand(self, inputs):
        return []


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (lambda: Unseen(Functional()), ["input", "first", "last"]),
        (lambda: Unseen(Checkpointed()), ["input", "body.1", "body.3"]),  # once, though run twice
        (Direct, ["input", "net.first", "net.last", "extra"]),
    ],
)
def test_it_measures_nets_it_has_never_seen(tmp_path, task, names):
    lengths, _ = fit(task(), tmp_path)
    assert lengths["name"].tolist() == names * BATCHES


def test_patterns_choose_what_is_measured(tmp_path):
    callback = ActivationLengths(tmp_path, modules=["0", "[13]"])
    lengths, _ = fit(Unseen(mlp()), tmp_path, callback=callback)
    assert lengths["name"].unique().tolist() == ["input", "0", "1", "3"]


def test_the_net_is_the_child_that_has_all_parameters():
    task = Task(mlp())
    assert measured_net(task) is task.net
    assert measured_net(direct := Direct()) is direct


def test_autocast_leaves_the_statistics_in_full_precision(tmp_path):
    task = Task(mlp())
    lengths, _ = fit(task, tmp_path, precision="bf16-mixed")
    expected = [[layer.mean() for layer in layers] for layers in by_hand(task)]
    np.testing.assert_allclose(lengths["mean"], np.ravel(expected), rtol=2e-2)  # bf16 has 8 bits
    assert (lengths["mean"] != lengths["mean"].astype("float16")).any()


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True], ids=["net.compile()", "torch.compile(net)"])
def test_a_compiled_net_is_measured_without_a_graph_break(tmp_path, wrapped):
    torch._dynamo.reset()
    net = mlp()
    task = Task(torch.compile(net, fullgraph=True) if wrapped else net)
    if not wrapped:
        net.compile(fullgraph=True)
    lengths, _ = fit(task, tmp_path)
    expected = [[layer.mean() for layer in layers] for layers in by_hand(task)]
    np.testing.assert_allclose(lengths["mean"], np.ravel(expected), rtol=1e-5)


def test_explosions_are_measured_as_long_as_activations_are_finite(tmp_path):
    net = mlp()
    with torch.no_grad():
        net[0].weight *= 1e15
        net[2].weight *= 1e15
        net[4].weight *= 1e-30
    task = Task(net)
    lengths, steps = fit(task, tmp_path, max_steps=1)
    expected = [layer.mean() for layer in by_hand(task)[0]]
    assert expected[2] > 1e58  # far beyond float32
    np.testing.assert_allclose(lengths["mean"][:3], expected, rtol=1e-5)
    np.testing.assert_allclose(lengths["variance"][2], by_hand(task)[0][2].var(ddof=1), rtol=1e-4)
    assert pd.isna(steps["first_nonfinite_layer"][0])


def test_the_first_layer_that_is_not_finite_is_named(tmp_path):
    net = mlp()
    with torch.no_grad():
        net[2].weight.fill_(torch.inf)
    _, steps = fit(Unseen(net), tmp_path, max_steps=1)
    assert steps["first_nonfinite_layer"][0] == 2
    assert np.isnan(steps["growth_rate"][0])


def test_a_net_that_was_called_before_it_was_watched_is_refused(tmp_path):
    class Hidden(Unseen):
        def training_step(self, batch, batch_idx):
            return cross_entropy(batch[0][:, :3] * self.net[0].bias[:3], batch[1])  # no module runs

    with pytest.raises(RuntimeError, match="no measured layer ran"):
        fit(Hidden(mlp()), tmp_path)
