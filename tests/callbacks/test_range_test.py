"""RangeTest with a plain Trainer: its curves equal those of a plain training loop."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from start_training.callbacks.range_test import RangeTest
from start_training.schedules.ramp import ramp_rates
from tests.callbacks.tasks import BATCHES, SGD, TEST, VALIDATION, Plain, fit, samples, small, weights

pytestmark = small


def by_hand(task: Plain, rates, *, micro_batches: int = 1, clip: float | None = None) -> pd.DataFrame:
    """Run the ramp as a plain loop on a copy of the net, and validate after every update."""
    net = copy.deepcopy(task.net)
    optimizer, batches, rows = SGD(net.parameters()), list(task.train_dataloader()), []
    inputs, targets = samples(VALIDATION, seed=2).tensors
    chosen = np.arange(TEST["val_samples"]) * VALIDATION // TEST["val_samples"]
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        batch_parts = [batches[(step * micro_batches + index) % BATCHES] for index in range(micro_batches)]
        loss = sum(cross_entropy(net(x), y) for x, y in batch_parts) / micro_batches
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        with torch.no_grad():
            logits = net(inputs[chosen])
        validation = float(cross_entropy(logits, targets[chosen]))
        accuracy = float((logits.argmax(1) == targets[chosen]).double().mean())
        rows.append((step, rate, loss.item(), validation, accuracy))
    return pd.DataFrame(rows, columns=["step", "learning_rate", "train_loss", "val_loss", "val_accuracy"])


@pytest.mark.parametrize(
    ("kind", "micro_batches", "clip"), [("exponential", 1, None), ("linear", 3, None), ("exponential", 1, 0.05)]
)
def test_the_curves_equal_those_of_a_plain_loop_and_are_written_as_a_table(tmp_path, kind, micro_batches, clip):
    task, test = Plain(), RangeTest(**TEST, ramp=kind)
    rates = ramp_rates(20, min_lr=1e-3, max_lr=1.0, ramp=kind)
    expected, other = (by_hand(task, times * rates, micro_batches=micro_batches, clip=clip) for times in (1, 1.01))
    fit(task, tmp_path, test, max_epochs=1, accumulate_grad_batches=micro_batches, gradient_clip_val=clip)
    assert test.stop_reason() is None
    curves = test.curves
    validated = curves["val_loss"].notna()
    assert curves["step"][validated].tolist() == [0, 3, 6, 10, 13, 16, 19]
    expected.loc[~validated, ["val_loss", "val_accuracy"]] = np.nan
    pd.testing.assert_frame_equal(curves, expected, rtol=1e-5)
    assert not np.allclose(curves["train_loss"], other["train_loss"], rtol=1e-5)  # the control
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "range_test"), curves, check_exact=True)
    summary = test.summary()["range_test"]
    assert (summary["max_lr"], summary["best_val_loss"]) == (test.suggestion.max_lr, curves["val_loss"].min())
    assert (summary["steps"], summary["diverged_at"], summary["ramp"]) == (20, None, kind)
    assert (summary["min_rate_tested"], summary["max_rate_tested"]) == (1e-3, 1.0)


class Exploding(Plain):
    """A module whose loss is NaN in one step, counted by the module itself."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.step = at, 0

    def training_step(self, batch, batch_idx):
        self.step += 1
        return super().training_step(batch, batch_idx) * (math.nan if self.step == self.at + 1 else 1.0)


@pytest.mark.parametrize("at", [8, 19])  # beyond the steps of an epoch of training
def test_the_test_ends_at_a_nonfinite_training_loss_and_training_is_unchanged(tmp_path, at):
    alone, task, test = Plain(), Exploding(at), RangeTest(**TEST)
    fit(alone, tmp_path, max_epochs=1)
    fit(task, tmp_path, test, max_epochs=1, detect_anomaly=True)
    assert np.isfinite(test.curves["train_loss"]).tolist() == [True] * at + [False]
    assert test.summary()["range_test"]["diverged_at"] == at
    assert torch.equal(weights(alone), weights(task))


def test_the_test_ends_at_a_nonfinite_validation_loss(tmp_path):
    class Overflowing(Plain):
        def forward(self, inputs):
            logits = self.net(inputs)
            return logits if self.training or logits.abs().max() < 20 else logits * math.inf

    test = RangeTest(**{**TEST, "max_lr": 100.0, "val_points": 20}, stop=True)
    fit(Overflowing(), tmp_path, test)
    assert 5 < len(test.curves) < 20
    assert np.isfinite(test.curves["val_loss"]).tolist() == [True] * (len(test.curves) - 1) + [False]
    assert test.summary()["range_test"]["diverged_at"] == len(test.curves) - 1


@pytest.mark.parametrize("diverges", [False, True])
def test_with_stop_the_run_ends_before_training(tmp_path, diverges):
    task, test = Exploding(0 if diverges else 99), RangeTest(**TEST, stop=True)
    before = weights(task)
    trainer = fit(task, tmp_path, test)
    assert trainer.global_step == trainer.current_epoch == 0
    assert torch.equal(before, weights(task))
    assert test.stop_reason() == "range test completed; not trained, since stop = true"
    if diverges:
        assert len(test.curves) == 1 and math.isnan(test.suggestion.max_lr)
        rule = "training diverged at the first learning rate of the test, 0.001: set a smaller min_lr"
        assert test.suggestion.rule == rule


@pytest.mark.parametrize(
    ("attributes", "options", "message"),
    [
        ({"automatic_optimization": False}, {}, "^range_test: Refused has automatic_optimization = False"),
        ({"val_dataloader": lambda _: []}, {}, "needs validation data"),
        ({"val_dataloader": lambda _: DataLoader(samples(0, seed=2))}, {}, "needs validation data"),
        ({"train_dataloader": lambda _: iter([])}, {}, "training data can be iterated only once"),
        ({"training_step": lambda *_: None}, {}, "training_step: returned None; has to return a loss"),
        ({}, {"min_epochs": 2}, "^min_epochs = 2: must be left out with range_test.stop = true"),
        ({}, {"min_steps": 2, "min_epochs": 0}, "^min_steps = 2: must be left out with range_test.stop = true"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*has no length", "ignore:Total length of .*DataLoader.* is zero")
def test_a_module_that_cannot_be_tested_is_refused(tmp_path, attributes, options, message):
    task = type("Refused", (Plain,), attributes)()
    with pytest.raises(ValueError, match=message):
        fit(task, tmp_path, RangeTest(**TEST, stop=bool(options)), limit_val_batches=0, **options)


def test_settings_that_are_not_allowed_are_named():
    for setting in ({"steps": 1}, {"val_points": 21}, {"val_points": 1}):
        with pytest.raises(ValueError, match=f"^{next(iter(setting))} = "):
            RangeTest(**{**TEST, **setting})


@pytest.mark.parametrize("scheduled", [False, True])
def test_parameter_groups_keep_their_ratios_and_the_momentum_of_the_optimizer(tmp_path, scheduled):
    steps: list[tuple[float, float, float]] = []

    class TwoGroups(Plain):
        def configure_optimizers(self):
            groups = [{"params": self.net[0].parameters(), "lr": 0.02}, {"params": self.net[2].parameters()}]
            optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.7)
            optimizer.register_step_post_hook(
                lambda optimizer, *_: steps.append(
                    (*(group["lr"] for group in optimizer.param_groups), optimizer.param_groups[1]["momentum"])
                )
            )
            if not scheduled:
                return optimizer
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.02, 0.1], total_steps=BATCHES)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            optimizer.param_groups[0]["lr"] *= 1.0 if scheduled else 1.5  # as in a custom warm-up
            optimizer.step(closure=optimizer_closure)

    test = RangeTest(**TEST, stop=True)
    fit(TwoGroups(), tmp_path, test)
    first, second, momentum = np.array(steps).T
    np.testing.assert_array_equal(second, test.curves["learning_rate"])
    np.testing.assert_allclose(first / second, 0.2)
    assert (momentum == 0.7).all()  # the schedule has set it to 0.95 at its start
