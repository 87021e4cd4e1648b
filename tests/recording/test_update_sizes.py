"""Sizes of weights, gradients and updates: what optimizers are known to do, in trainings of any kind."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from start_training.callbacks.activation_lengths import ActivationLengths
from start_training.recording.observed_optimizer import ObservedOptimizer
from start_training.recording.update_sizes import UpdateSizes
from tests.callbacks.tasks import BATCHES, PLAIN_SGD, SGD, At, Plain, Recording, Resumable, fit, mlp, small, weights
from tests.recording.test_any_training import Closure, Gan, ManuallySkipping, Skipping, lbfgs

pytestmark = [small, pytest.mark.filterwarnings("ignore:.*training_step.* returned .*None")]
ADAM = partial(torch.optim.Adam, lr=1e-3)


def record(task, directory, *callbacks, **options) -> pd.DataFrame:
    """Train, and return the table `updates/`."""
    settings = {name: options.pop(name) for name in ("every_n_steps", "flush_every_n_steps") if name in options}
    callback = ActivationLengths(directory, updates=True, **settings)
    fit(task, directory, callback, *callbacks, **{"max_epochs": 1, **options})
    return pd.read_parquet(callback.tables_directory / "updates")


class ByHand(Plain):
    """A module that computes the norms of its optimizer's steps itself, under automatic optimization."""

    def __init__(self, net=None, optimizer=PLAIN_SGD) -> None:
        super().__init__(net or mlp(), optimizer)
        self.seen: list[list[list[float]]] = []

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        before = [value.detach().double().clone() for value in self.parameters()]
        optimizer.step(closure=optimizer_closure)
        pairs = list(zip(self.parameters(), before, strict=True))
        self.seen.append(
            [
                [old.norm().item() for _, old in pairs],
                [value.grad.double().norm().item() for value, _ in pairs],
                [(value.detach().double() - old).norm().item() for value, old in pairs],
            ]
        )


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (PLAIN_SGD, {}),
        (partial(SGD, weight_decay=0.1), {"accumulate_grad_batches": 4}),
        (ADAM, {"gradient_clip_val": 0.01}),  # the gradient after clipping
        (ADAM, {"precision": "bf16-mixed"}),
    ],
)
def test_norms_equal_a_computation_by_hand(tmp_path, optimizer, options):
    task = ByHand(optimizer=optimizer)
    rows = record(task, tmp_path, **options)
    expected = np.array(task.seen).transpose(1, 0, 2).reshape(3, -1)
    columns = ["weight_norm", "gradient_norm", "update_norm"]
    np.testing.assert_allclose(rows[columns].to_numpy().T, expected, rtol=1e-6)
    np.testing.assert_allclose(rows["relative_update"], expected[2] / expected[0], rtol=1e-6)
    assert rows["parameter"].tolist() == ["0.weight", "0.bias", "2.weight", "2.bias"] * (len(rows) // 4)
    assert rows["name"].tolist() == ["0", "0", "2", "2"] * (len(rows) // 4)
    assert rows["dimensions"][:4].tolist() == [2, 1, 2, 1] and rows["size"][:4].tolist() == [128, 16, 48, 3]
    assert rows["step"].unique().tolist() == pd.read_parquet(tmp_path / "steps")["step"].tolist()
    assert (rows["optimizer"] == f"net ({type(task.optimizers()).__name__.removeprefix('Lightning')})").all()
    if "gradient_clip_val" in options:
        assert (rows.groupby("step")["gradient_norm"].agg(np.linalg.norm) < 0.0101).all()


def test_sgd_moves_by_rate_times_gradient_and_momentum_does_not(tmp_path):
    rows = record(Plain(optimizer=PLAIN_SGD), tmp_path / "plain")
    np.testing.assert_allclose(rows["update_norm"], 0.1 * rows["gradient_norm"], rtol=1e-5)
    control = record(Plain(optimizer=SGD), tmp_path / "momentum")
    later = control[control["step"] > 0]
    assert (np.abs(later["update_norm"] / (0.1 * later["gradient_norm"]) - 1) > 0.05).all()


def test_the_first_step_of_adam_is_rate_times_root_of_size_and_no_later_one(tmp_path):
    rows = record(Plain(optimizer=partial(ADAM, eps=1e-12)), tmp_path)
    ratio = rows["update_norm"] / (1e-3 * np.sqrt(rows["size"]))
    gradients = rows["step"] == 0
    # An element without a gradient, of a unit that is dead in the first batch, does not move.
    assert ((ratio[gradients] > 0.9) & (ratio[gradients] < 1 + 1e-4)).all()
    assert ratio[1] == pytest.approx(1, abs=1e-4) and ratio[3] == pytest.approx(1, abs=1e-4)
    assert (ratio[rows["step"] == BATCHES - 1] < 0.99).all()


@pytest.mark.parametrize("fused", [False, True])
def test_the_scale_of_16_bit_gradients_is_taken_out_and_overflowing_steps_have_no_rows(tmp_path, fused):
    plain = record(Plain(optimizer=PLAIN_SGD), tmp_path / "plain").set_index(["step", "parameter"])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-30)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    rows = record(Plain(optimizer=partial(PLAIN_SGD, fused=fused)), tmp_path / "scaled", plugins=[plugin])
    moved = rows[rows["update_norm"] > 0]
    assert moved["step"].min() == 1 and (fused or len(moved) == len(rows))
    np.testing.assert_allclose(moved["update_norm"], 0.1 * moved["gradient_norm"], rtol=1e-4)
    np.testing.assert_allclose(moved["gradient_norm"][moved["step"] == 1], plain["gradient_norm"][1], rtol=0.5)


def test_norms_outside_the_range_of_squares_are_right(tmp_path):
    class Tiny(ByHand):
        def training_step(self, batch, batch_idx):
            return 1e-25 * super().training_step(batch, batch_idx)

    task = Tiny(optimizer=partial(torch.optim.SGD, lr=1e-3))
    rows = record(task, tmp_path, max_steps=1)
    assert ((rows["gradient_norm"] > 1e-28) & (rows["gradient_norm"] < 1e-23)).all()
    np.testing.assert_allclose(rows["gradient_norm"], task.seen[0][1], rtol=1e-6)


@pytest.mark.parametrize("task", [Plain, lambda: Plain(optimizer=lbfgs), lambda: Gan("real D fake fool G")])
def test_training_is_bit_identical(tmp_path, task):
    one, other = task(), task()
    record(one, tmp_path / "a", flush_every_n_steps=2)
    fit(other, tmp_path / "b", ActivationLengths(tmp_path / "b"), max_epochs=1)
    assert torch.equal(weights(one), weights(other)) and not (tmp_path / "b" / "updates").exists()


def test_each_step_of_each_optimizer_has_rows(tmp_path):
    task = Gan("real D real D fake fool G")
    rows = record(task, tmp_path, every_n_steps=2)
    assert rows["step"].unique().tolist() == [0, 2, 4]
    steps = rows.groupby("step", sort=False)["optimizer"].unique().map(list)
    assert steps.tolist() == [["discriminator (SGD)", "discriminator (SGD):2", "generator (Adam)"]] * 3
    sgd = rows[rows["optimizer"].str.startswith("discriminator")]
    np.testing.assert_allclose(sgd["update_norm"], 0.02 * sgd["gradient_norm"], rtol=1e-4)
    assert sgd["parameter"].str.startswith("discriminator.").all()


def test_skipped_batches_have_no_rows(tmp_path):
    for name, task in {"automatic": Skipping(), "manual": ManuallySkipping()}.items():
        rows = record(task, tmp_path / name)
        steps = pd.read_parquet(tmp_path / name / "steps")["step"].tolist()
        assert rows["step"].unique().tolist() == steps and len(rows) == 4 * len(steps)


def test_a_closure_is_measured_at_its_first_evaluation(tmp_path):
    class Once(Plain):
        norms: list[float]

        def on_after_backward(self):
            if len(self.norms) == self.global_step:
                self.norms.append(self.net[0].weight.grad.norm().item())

    task = Once(optimizer=lbfgs)
    task.norms = []
    automatic = record(task, tmp_path / "automatic")
    first = automatic[automatic["parameter"] == "0.weight"]
    assert first["gradient_norm"].tolist() == pytest.approx(task.norms)
    for raw in (False, True):
        manual = record(Closure(raw=raw), tmp_path / str(raw))
        pd.testing.assert_frame_equal(manual, automatic)


class Unusual(nn.Module):
    """Tied, frozen, unused, complex, sparse and parametrized weights, and those of zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = parametrizations.weight_norm(nn.Linear(8, 8))
        self.tied = self.first
        self.norm, self.act = nn.LayerNorm(8), nn.ReLU()
        self.frozen, self.unused = nn.Linear(8, 8).requires_grad_(False), nn.Linear(2, 2)
        self.complex = nn.Parameter(torch.ones(8, dtype=torch.complex64))
        self.table = nn.Embedding(4, 8, sparse=True)
        self.last = nn.Linear(8, 3)
        nn.init.zeros_(self.last.bias)

    def forward(self, inputs):
        hidden = self.act(self.norm(self.tied(self.first(inputs))))
        hidden = (self.frozen(hidden) * self.complex).abs() + self.table(torch.tensor([1, 1])).sum(0)
        return self.last(hidden)


@pytest.mark.filterwarnings("ignore:ActivationLengths covers")
def test_parameters_of_any_kind_are_measured_or_named(tmp_path):
    rows = record(Plain(Unusual(), PLAIN_SGD), tmp_path)
    first = rows[rows["step"] == 0].set_index("parameter")
    tied = [f"first.parametrizations.weight.original{number}" for number in (0, 1)]
    assert first.index.tolist() == [
        *("complex", "first.bias", *tied, "norm.weight", "norm.bias", "unused.weight", "unused.bias"),
        *("table.weight", "last.weight", "last.bias"),
    ]
    assert first["name"][tied[0]] == "first" and first["name"]["complex"] == ""
    unused = first.loc[["unused.weight", "unused.bias"]]
    assert unused["gradient_norm"].isna().all() and (unused["update_norm"] == 0).all()
    assert np.isnan(first["relative_update"]["last.bias"]) and first["update_norm"]["last.bias"] > 0
    moved = first.drop(index=unused.index)
    np.testing.assert_allclose(moved["update_norm"], 0.1 * moved["gradient_norm"], rtol=1e-4)


def test_rows_go_on_when_a_run_resumes_and_tables_are_compact(tmp_path):
    def save(trainer):
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        assert pd.read_parquet(tmp_path / "whole" / "updates")["step"].unique().tolist() == [0, 1, 2, 3]

    whole = record(Resumable(), tmp_path / "whole", At(4, save), max_epochs=2)
    again = record(Resumable(), tmp_path / "whole", max_epochs=2, ckpt_path=tmp_path / "a.ckpt")
    assert again["step"].is_monotonic_increasing and again["step"].tolist() == whole["step"].tolist()
    pd.testing.assert_frame_equal(again[again["step"] < 4], whole[whole["step"] < 4])
    with pytest.raises(KeyError):  # a fit without updates=True, which replaces the steps from 0 on
        callback = ActivationLengths(tmp_path / "whole", resume=True)
        fit(Resumable(), tmp_path, callback, At(3, {}.__getitem__))
    assert pd.read_parquet(tmp_path / "whole" / "steps")["step"].tolist() == [0, 1, 2]
    assert not list((tmp_path / "whole" / "updates").iterdir())


def test_unfrozen_parameters_get_rows(tmp_path):
    class Unfreezing(Plain):
        def configure_optimizers(self):
            return PLAIN_SGD(self.net[2].parameters())

        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 3:
                self.optimizers().add_param_group({"params": self.net[0].parameters()})

    rows = record(Unfreezing(), tmp_path)
    assert rows.groupby("step").size().tolist() == [2, 2, 2, 4, 4, 4]
    assert {*rows["parameter"]} == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_curves_of_weights_are_logged(tmp_path):
    logger = Recording()
    rows = record(Plain(), tmp_path, logger=logger).set_index(["step", "parameter"])
    logged = {name: value for name, value in logger.rows[0].items() if name.startswith("updates/")}
    assert logged == {f"updates/{name}": rows["relative_update"][0, name] for name in ("0.weight", "2.weight")}


class Wrapper(torch.optim.SGD):
    """An optimizer whose step calls that of its base class, which has hooks of its own."""

    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for value in self.param_groups[0]["params"]:
                value.mul_(0.5)
        return loss


def test_a_step_that_calls_the_step_of_its_base_class_is_one_step(tmp_path):
    task = ByHand(optimizer=partial(Wrapper, lr=0.1))
    PLAIN_SGD(task.parameters())  # gives SGD.step hooks
    rows = record(task, tmp_path)
    np.testing.assert_allclose(rows["update_norm"], np.array(task.seen)[:, 2].ravel(), rtol=1e-6)


def test_what_cannot_be_measured_is_refused_or_named(tmp_path):
    callback = ActivationLengths(tmp_path, updates=True)
    task = Plain()
    task.net[0]._is_fsdp_managed_module = True
    with pytest.raises(ValueError, match="updates = True: the parameters are sharded"):
        fit(task, tmp_path, callback)
    with pytest.raises(ValueError, match="updates = True: groups of replicas need updates = False"):
        callback.group_check(None)

    class WithoutHooks:
        """An optimizer that is none of torch's, as those that shard its state."""

        param_groups = ({"params": [], "lr": 0.1},)

    measurement = SimpleNamespace(
        steps=SimpleNamespace(handles=[], manual=False, optimizers={"net (X)": WithoutHooks()})
    )
    with pytest.raises(ValueError, match=r"updates = True: the optimizer net \(X\) has no hooks"):
        UpdateSizes(SimpleNamespace(is_global_zero=False), Plain(), mlp(), measurement)

    class ByItself(Plain):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = cross_entropy(self(batch[0]), batch[1])
            loss.backward()
            return loss

    with pytest.warns(UserWarning, match="updates=True measured nothing"):
        fit(ByItself(), tmp_path, ActivationLengths(updates=True), max_epochs=1)


def test_nothing_waits_for_the_device():
    """On torch's meta device, whose tensors have no values, reading one fails."""
    net = nn.Linear(4, 3, device="meta")
    optimizer, read = SGD(net.parameters()), []
    device = torch.device("meta")
    ObservedOptimizer(optimizer, device, lambda: 0, lambda parameters, norms: read.append(norms), early=False)
    for value in net.parameters():
        value.grad = torch.empty_like(value)
    optimizer.step()
    optimizer.step(lambda: None)
    assert [tuple(norms.shape) for norms in read] == [(3, 2), (3, 2)]
    with pytest.raises(RuntimeError, match="meta"):
        read[0].sum().item()
