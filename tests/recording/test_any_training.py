"""ActivationLengths in trainings of any kind: manual optimization, several optimizers, skipped batches, closures."""

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus
from torch.utils.checkpoint import checkpoint

from start_training.callbacks.activation_lengths import ActivationLengths
from tests.callbacks.tasks import BATCH, BATCHES, PLAIN_SGD, Plain, fit, mlp, small

pytestmark = [small, pytest.mark.filterwarnings("ignore:.*training_step.* returned .*None")]


def record(task, directory, **options):
    """Train, and return the tables `lengths/` and `steps/`."""
    settings = {name: options.pop(name) for name in ("every_n_steps", "flush_every_n_steps") if name in options}
    fit(task, directory, ActivationLengths(directory, **settings), **{"max_epochs": 1, **options})
    return pd.read_parquet(directory / "lengths"), pd.read_parquet(directory / "steps")


class Gan(Plain):
    """A GAN under manual optimization; `order` names what training_step does, in turn."""

    automatic_optimization = False
    val_dataloader, validation_step = pl.LightningModule.val_dataloader, pl.LightningModule.validation_step

    def __init__(self, order: str, *, raw: bool = False) -> None:
        super().__init__()
        del self.net
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.discriminator = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        self.order, self.raw = order.split(), raw
        self.seen: list[tuple[str, float]] = []  # the mean length of the discriminator's ReLU, by hand

    def judge(self, name: str, samples: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            first = self.discriminator[0]
            hidden = torch.relu(samples @ first.weight.T + first.bias).double()
        self.seen.append((name, hidden.square().mean(1).mean().item()))
        return self.discriminator(samples)

    def training_step(self, batch, batch_idx):
        optimizers, loss = dict(zip("GD", self.optimizers(use_pl_optimizer=not self.raw), strict=True)), 0.0
        for act in self.order:
            if act == "fake":
                fake = self.generator(torch.ones(7, 4))
            elif act == "real":
                loss = loss + softplus(-self.judge(act, batch[0])).mean()
            elif act == "false":
                loss = loss + softplus(self.judge(act, fake.detach())).mean()
            elif act == "fool":
                loss = loss + softplus(-self.judge(act, fake)).mean()
            else:
                optimizers[act].zero_grad()
                loss.backward() if self.raw else self.manual_backward(loss)
                optimizers[act].step()
                loss = 0.0

    def configure_optimizers(self):
        adam = torch.optim.Adam(self.generator.parameters(), lr=0.01)
        return adam, torch.optim.SGD(self.discriminator.parameters(), lr=0.02)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "order",
    [
        "fake real false D fool G",
        "real fake false D fool G",
        "real fake false D fake fool G",
        "real D fake false D fake fool G",
        "fake false real D fool G",
    ],
)
def test_all_forward_passes_of_a_gan_are_recorded_apart(tmp_path, order, raw):
    task = Gan(order, raw=raw)
    lengths, steps = record(task, tmp_path)
    own = lengths[lengths["name"] == "discriminator.1"]
    assert own.groupby("step").size().tolist() == [3] * BATCHES  # steps 0, 1, 2, …, though two optimizers step
    assert own["step"].unique().tolist() == steps["step"].unique().tolist() == list(range(BATCHES))
    assert own["phase"].nunique() == 3 and steps.groupby("step").size().tolist() == [3] * BATCHES
    names = ("real", "false", "fool")
    for step in range(BATCHES):
        seen = dict(task.seen[3 * step : 3 * step + 3])
        rows = own[own["step"] == step].sort_values("mean")
        np.testing.assert_allclose(rows["mean"], sorted(seen[name] for name in names), rtol=1e-5)
    fakes = lengths.groupby(["step", "phase"])["count"].agg(["min", "max"])
    assert (fakes["min"] == fakes["max"]).all()  # a pass is of the same samples: those of the net that feeds it
    rates = {"generator (Adam)": 0.01, "discriminator (SGD)": 0.02}
    assert steps["learning_rate"].tolist() == [rates[name] for name in steps["optimizer"]]
    assert (steps["optimizer"] == "generator (Adam)").sum() == BATCHES
    assert steps["loss"].isna().all() if raw else steps["loss"].notna().all()


def test_every_fifth_step_of_a_gan_is_measured_and_a_resumed_one_goes_on(tmp_path):
    options = {"every_n_steps": 2, "flush_every_n_steps": 2}
    _, steps = record(Gan("real D fake fool G"), tmp_path / "all", max_epochs=2, **options)
    assert steps["step"].unique().tolist() == [0, 2, 4, 6, 8, 10]
    first = fit(Gan("real D fake fool G"), tmp_path / "b", ActivationLengths(every_n_steps=2), max_epochs=1)
    first.save_checkpoint(tmp_path / "a.ckpt")
    resumed = ActivationLengths(every_n_steps=2)
    fit(Gan("real D fake fool G"), tmp_path / "b", resumed, max_epochs=2, ckpt_path=tmp_path / "a.ckpt")
    assert resumed.tables_directory == tmp_path / "b" / "activation_lengths" / "0"
    pd.testing.assert_frame_equal(pd.read_parquet(resumed.tables_directory / "steps"), steps)


class Skipping(Plain):
    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            return None
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == 2 else loss


class ManuallySkipping(Plain):
    automatic_optimization = False
    result: object = None

    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            return None
        loss = super().training_step(batch, batch_idx)
        if batch_idx != 2:
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()
        return self.result


@pytest.mark.parametrize("result", [None, {"logits": torch.ones(2)}])
def test_a_skipped_batch_has_no_row(tmp_path, result):
    _, steps = record(Skipping(), tmp_path / "automatic")
    assert steps["step"].tolist() == [0, 3, 4, 5] and steps["loss"].notna().all()  # Lightning counts skipped batches
    task = ManuallySkipping()
    task.result = result
    _, manual = record(task, tmp_path / "manual")
    assert manual["step"].tolist() == [0, 1, 2, 3]
    assert manual["loss"].tolist() == pytest.approx(steps["loss"].tolist())
    assert (manual["learning_rate"] == 0.1).all() and list(manual) == list(steps)


def test_where_nothing_can_be_measured_is_said_once(tmp_path):
    class Never(Plain):
        def training_step(self, batch, batch_idx):
            return None

    class WithoutNet(Plain):
        def training_step(self, batch, batch_idx):
            return self.net[0].weight.square().sum()

    with pytest.warns(UserWarning, match="measured nothing: training_step skipped all"):
        fit(Never(), tmp_path, ActivationLengths(), max_epochs=1)
    with pytest.raises(RuntimeError, match="step 0 trained the net, but no measured layer ran: 1"):
        fit(WithoutNet(), tmp_path, ActivationLengths(), max_epochs=1)


def lbfgs(parameters):
    return torch.optim.LBFGS(parameters, lr=0.1, max_iter=4)


class Closure(Plain):
    automatic_optimization = False

    def __init__(self, *, raw: bool) -> None:
        super().__init__(optimizer=lbfgs)
        self.raw = raw

    def training_step(self, batch, batch_idx):
        def closure():
            optimizer.zero_grad()
            loss = cross_entropy(self(batch[0]), batch[1])
            loss.backward() if self.raw else self.manual_backward(loss)
            return loss

        optimizer = self.optimizers()
        return optimizer.step(closure)


def test_only_the_first_evaluation_of_a_closure_is_measured(tmp_path):
    class Counting(Plain):
        losses: list[float]

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.losses.append((self.global_step, loss.item()))
            return loss

    task = Counting(optimizer=lbfgs)
    task.losses = []
    lengths, steps = record(task, tmp_path / "automatic")
    assert len(task.losses) == 4 * BATCHES and steps["step"].tolist() == list(range(BATCHES))
    assert (lengths["count"] == BATCH).all() and len(lengths) == 2 * BATCHES
    assert steps["loss"].tolist() == pytest.approx([loss for _, loss in task.losses[::4]])
    for raw in (False, True):
        manual, of_steps = record(Closure(raw=raw), tmp_path / str(raw))
        pd.testing.assert_frame_equal(manual, lengths)
        assert of_steps["step"].tolist() == list(range(BATCHES))
        assert of_steps["loss"].tolist() == pytest.approx(steps["loss"].tolist())


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_gradient_checkpointing_calls_again_is_counted_once(tmp_path, reentrant):
    class Checkpointed(Plain):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            inputs = batch[0].requires_grad_()
            loss = cross_entropy(checkpoint(self.net, inputs, use_reentrant=reentrant), batch[1])
            loss.backward()
            self.optimizers().step()

    lengths, _ = record(Checkpointed(mlp()), tmp_path)
    assert lengths["name"].tolist() == ["input", "1"] * BATCHES


def test_a_training_without_an_optimizer_is_measured(tmp_path):
    class Frozen(Plain):
        def configure_optimizers(self):
            return None

    with pytest.warns(UserWarning, match="no optimizer"):
        _, steps = record(Frozen(mlp()), tmp_path)
    assert steps["step"].tolist() == list(range(BATCHES)) and steps["learning_rate"].isna().all()


class Twins(Plain):
    """A net called twice under automatic optimization, from the second batch on."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + 0 * self.net(2 * batch[0]).sum() if batch_idx else loss


def test_two_calls_of_a_net_before_a_backward_pass_are_two_passes(tmp_path):
    lengths, steps = record(Twins(mlp(), PLAIN_SGD), tmp_path, flush_every_n_steps=1, accumulate_grad_batches=2)
    assert steps["phase"].tolist() == ["net", "net:2"] * (BATCHES // 2)
    inputs = lengths[lengths["layer"] == 0]
    assert inputs["count"].tolist() == [32, 16, 32, 32, 32, 32]
    late = Twins(mlp(), PLAIN_SGD)
    lengths, steps = record(late, tmp_path / "late", flush_every_n_steps=1)
    assert steps["phase"].tolist() == ["net"] + ["net", "net:2"] * (BATCHES - 1)  # the first row was already written
    assert lengths["phase"].notna().all() and (steps["optimizer"] == "net (SGD)").all()
    means = lengths[(lengths["layer"] == 0) & (lengths["step"] > 0)]["mean"].to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(means[:, 1], 4 * means[:, 0], rtol=1e-6)


def test_nets_that_feed_each_other_are_one_pass(tmp_path):
    class Parts(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = mlp()[:2], nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
            del self.net

        def forward(self, inputs):
            return self.decoder(self.encoder(inputs))

    lengths, steps = record(Parts(), tmp_path)
    assert lengths["name"].tolist() == ["input", "encoder.1", "decoder.1"] * BATCHES
    assert "phase" not in lengths and len(steps) == BATCHES


def test_a_trainer_of_the_package_lightning_is_served(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", reason="the package lightning is not installed")

    class Foreign(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        training_step, configure_optimizers = Plain.training_step, Plain.configure_optimizers
        forward, train_dataloader, optimizer = Plain.forward, Plain.train_dataloader, staticmethod(PLAIN_SGD)

    options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    callback = ActivationLengths(tmp_path)
    lightning.Trainer(max_epochs=1, callbacks=[callback], default_root_dir=tmp_path, **options).fit(Foreign())
    _, steps = record(Plain(mlp(), PLAIN_SGD), tmp_path / "own")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "steps"), steps)
