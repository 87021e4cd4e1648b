"""ActivationLengths with a plain Trainer and custom nets, compared to lengths computed by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu
from torch.utils.checkpoint import checkpoint

from start_training.callbacks.activation_lengths import ActivationLengths
from tests.callbacks.tasks import BATCHES, At, Plain, fit, small

pytestmark = small


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))


class Task(Plain):
    """A module that computes the lengths of its batches without the callback."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__(net or mlp())
        self.seen: list[list[torch.Tensor]] = []

    def training_step(self, batch, batch_idx):
        self.seen.append(self.lengths_by_hand(batch[0]))
        return super().training_step(batch, batch_idx)

    @torch.no_grad()
    def lengths_by_hand(self, inputs):
        """Compute the lengths of layer 0 and of each ReLU in float64, without calling a module."""
        lengths, activation = [inputs.double().square().mean(1)], inputs.double()
        layers = getattr(self.net, "_orig_mod", self.net)
        for linear in [layer for layer in layers if isinstance(layer, nn.Linear)][:-1]:
            activation = (activation @ linear.weight.double().T + linear.bias.double()).clamp(min=0)
            lengths.append(activation.square().mean(1))
        return lengths


def record(task, directory, *callbacks, callback=None, **options):
    """Train, with a sanity check and validation that must not be recorded, and read both tables."""
    options = {"max_epochs": 1, "num_sanity_val_steps": 1, **options}
    fit(task, directory, callback or ActivationLengths(directory), *callbacks, **options)
    return pd.read_parquet(directory / "lengths"), pd.read_parquet(directory / "steps")


def by_hand(task: Task, micro_batches: int = 1) -> list[list[np.ndarray]]:
    """Return, for each step and layer, the lengths of the pooled micro-batches."""
    starts = range(0, len(task.seen), micro_batches)
    return [[torch.cat(layer).numpy() for layer in zip(*task.seen[i : i + micro_batches], strict=True)] for i in starts]


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_every_step_equals_a_computation_by_hand(tmp_path, micro_batches):
    task, losses = Task(), []
    task.on_before_backward = lambda loss: losses.append(loss.item() * micro_batches)
    lengths, steps = record(task, tmp_path, accumulate_grad_batches=micro_batches)
    expected = by_hand(task, micro_batches)
    assert len(steps) == len(expected) == -(-BATCHES // micro_batches)
    assert lengths["name"][:3].tolist() == ["input", "1", "3"]
    assert steps["learning_rate"].tolist() == [0.1] * len(steps) and (steps["epoch"] == 0).all()
    pooled = [losses[i : i + micro_batches] for i in range(0, BATCHES, micro_batches)]
    assert steps["loss"].tolist() == pytest.approx([np.mean(parts) for parts in pooled])
    for step, layers in enumerate(expected):
        rows = lengths[lengths["step"] == step]
        assert (rows["count"] == len(layers[0])).all()
        np.testing.assert_allclose(rows["mean"], [layer.mean() for layer in layers], rtol=1e-6)
        np.testing.assert_allclose(rows["variance"], [layer.var(ddof=1) for layer in layers], rtol=1e-5)
        hidden = np.stack(layers[1:])
        np.testing.assert_allclose(steps["layer_variance"][step], hidden.var(0).mean(), rtol=1e-5)
        relative = (hidden.var(0) / hidden.mean(0) ** 2).mean()
        np.testing.assert_allclose(steps["relative_layer_variance"][step], relative, rtol=1e-5)


def test_measuring_fewer_steps_and_flushing_more_often_gives_the_same_numbers(tmp_path):
    rows, _ = record(Task(), tmp_path / "every")
    seen: list[int] = []

    class Look(At):
        def on_train_batch_end(self, *_):
            seen.append(sum(len(pd.read_parquet(part)) for part in (tmp_path / "some" / "steps").glob("*.parquet")))

    callback = ActivationLengths(tmp_path / "some", every_n_steps=2, flush_every_n_steps=2)
    some, steps = record(Task(), tmp_path / "some", Look(-1, None), callback=callback)
    assert steps["step"].tolist() == [0, 2, 4]
    chosen = rows[rows["step"] % 2 == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, chosen, check_exact=True)
    assert seen == [0, 0, 2, 2, 2, 2]  # flushed after every second measured step


def test_rows_are_written_before_a_checkpoint_or_an_error_and_later_rows_are_replaced_on_resuming(tmp_path):
    def save(trainer):
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        assert pd.read_parquet(tmp_path / "steps")["step"].tolist() == [0, 1, 2, 3]

    whole, _ = record(Task(), tmp_path, At(4, save))
    with pytest.raises(KeyError):
        record(Task(), tmp_path, At(3, {}.__getitem__), callback=ActivationLengths(tmp_path, resume=True))
    assert pd.read_parquet(tmp_path / "steps")["step"].tolist() == [0, 1, 2]
    assert (len(whole), len(list((tmp_path / "steps").iterdir()))) == (18, 1)


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


@pytest.mark.parametrize(
    ("task", "modules", "names"),
    [
        (lambda: Plain(Functional()), None, ["input", "F.relu"]),
        (lambda: Plain(Functional()), ["*t"], ["input", "first", "last"]),
        (lambda: Plain(Checkpointed()), None, ["input", "body.1", "body.3"]),  # recorded once, though run twice
        (lambda: Plain(mlp()), ["0", "[13]"], ["input", "0", "1", "3"]),
    ],
)
@pytest.mark.filterwarnings("ignore:ActivationLengths covers")
def test_custom_nets_are_measured(tmp_path, task, modules, names):
    lengths, _ = record(task(), tmp_path, callback=ActivationLengths(tmp_path, modules=modules))
    assert lengths["name"].tolist() == names * BATCHES


@pytest.mark.parametrize("factor", [1e15, torch.inf])
def test_exploding_lengths_are_measured_while_finite_and_the_first_nonfinite_layer_is_named(tmp_path, factor):
    task = Task()
    with torch.no_grad():
        for layer, scale in ((0, 1e15), (2, factor), (4, 1e-30)):
            task.net[layer].weight *= scale
    lengths, steps = record(task, tmp_path, max_steps=1)
    layers = by_hand(task)[0]
    if factor == torch.inf:
        assert steps["first_nonfinite_layer"][0] == 2 and np.isnan(steps["growth_rate"][0])
    else:
        assert layers[2].mean() > 1e58  # far beyond float32
        np.testing.assert_allclose(lengths["mean"][:3], [layer.mean() for layer in layers], rtol=1e-5)
        np.testing.assert_allclose(lengths["variance"][2], layers[2].var(ddof=1), rtol=1e-4)
        assert pd.isna(steps["first_nonfinite_layer"][0])


def test_a_training_step_that_does_not_call_the_net_is_refused(tmp_path):
    class Hidden(Plain):
        def training_step(self, batch, batch_idx):
            return cross_entropy(batch[0][:, :3] * self.net[0].bias[:3], batch[1])  # no module runs

    with pytest.raises(RuntimeError, match="no measured layer ran"):
        record(Hidden(), tmp_path)
