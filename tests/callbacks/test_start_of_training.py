"""StartOfTraining with a plain Trainer: it finds the step computed by hand, and training is unchanged."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from start_training.callbacks.start_of_training import StartOfTraining, sentence
from start_training.tasks.classification import correct
from tests.callbacks.tasks import BATCH, BATCHES, VALIDATION, Evaluated, Plain, fit, samples, small, weights

EPOCHS = 4
THRESHOLD = 0.6  # not reached in the first steps, with three classes
pytestmark = small


class ByHand(pl.Callback):
    """Measures the test accuracy of a copy of the net after every step and epoch."""

    def __init__(self) -> None:
        self.by_step: dict[int, float] = {}
        self.by_epoch: dict[int, float] = {}

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.by_step.setdefault(trainer.global_step, self.accuracy(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        self.by_epoch[trainer.current_epoch + 1] = self.accuracy(pl_module)

    @torch.no_grad()
    def accuracy(self, module):
        inputs, targets = samples(VALIDATION, seed=2).tensors
        return float((copy.deepcopy(module.net).eval()(inputs).argmax(1) == targets).double().mean())


@pytest.mark.parametrize(
    ("period", "micro_batches"), [(1, 1), (3, 2), (3, 4)]
)  # with 4, the last step of an epoch has 2
def test_the_start_is_the_first_step_that_reaches_the_threshold(tmp_path, period, micro_batches):
    hand, start = ByHand(), StartOfTraining(threshold=THRESHOLD, every_n_steps=period)
    options = {"accumulate_grad_batches": micro_batches, "max_epochs": EPOCHS * micro_batches}
    fit(Evaluated(), tmp_path, hand, start, **options)
    measured = {step: accuracy for step, accuracy in hand.by_step.items() if step and step % period == 0}
    first = min(step for step, accuracy in measured.items() if accuracy >= THRESHOLD)
    assert first > period  # the first evaluation was below the threshold
    per_epoch = -(-BATCHES // micro_batches)
    assert (start.step, start.epoch, start.accuracy) == (first, -(-first // per_epoch), measured[first])
    direct = StartOfTraining(threshold=THRESHOLD, every_n_steps=period)  # without a trainer
    for step, accuracy in hand.by_step.items():
        if step and step % period == 0:
            direct.add(accuracy, epoch=1 + (step - 1) // per_epoch, step=step)
    assert direct.started and direct.state_dict() == start.state_dict()


def test_the_best_accuracy_is_stored_until_the_threshold_is_reached():
    start = StartOfTraining(threshold=0.5, every_n_steps=4)
    for accuracy, best in ((0.3, 0.3), (0.4, 0.4), (0.2, 0.4)):
        start.add(accuracy, epoch=1, step=4)
        assert (start.accuracy, start.started) == (best, False)
    for accuracy in (0.5, 0.9):
        start.add(accuracy, epoch=2, step=8)
    expected = {"metric": "test/accuracy", "threshold": 0.5, "every_n_steps": 4, "epoch": 2, "step": 8, "accuracy": 0.5}
    assert start.summary() == {"start_of_training": expected}
    same, other = StartOfTraining(threshold=0.5, every_n_steps=4), StartOfTraining(threshold=0.6, every_n_steps=4)
    for callback in (same, other):
        callback.load_state_dict(start.state_dict())
    assert same.summary() == start.summary()
    assert not other.started and other.accuracy is None


def test_a_net_that_never_reaches_the_threshold_is_reported_as_not_started():
    summary = {"threshold": 0.99, "epoch": None, "step": None, "accuracy": 0.345}
    assert "did not start: test accuracy 34.50% at best, below 99%" in sentence(summary, epochs=2, steps=12)
    assert "before test accuracy was first measured" in sentence({**summary, "accuracy": None}, epochs=0, steps=3)


def test_the_module_is_evaluated_in_test_mode_and_restored(tmp_path):
    class PartlyFrozen(Evaluated):
        def on_train_epoch_start(self):
            self.net[1].eval()

        def on_train_batch_end(self, *_):
            self.modes = [module.training for module in self.net]
            self.stage = self.trainer.state.stage.value

    task, start = PartlyFrozen(), StartOfTraining(threshold=0.999, every_n_steps=2)
    fit(task, tmp_path, start, precision="bf16-mixed", max_epochs=1)
    assert task.modes == [index != 1 for index in range(len(task.net))]
    assert task.stage == "train"
    assert torch.is_grad_enabled()
    assert set(task.calls) == {("train", True, True, torch.bfloat16), ("test", False, False, torch.bfloat16)}


@pytest.mark.parametrize("period", [None, 1])
def test_with_stop_the_run_ends_at_the_start_of_training_also_when_resumed(tmp_path, period):
    start, ends = StartOfTraining(threshold=THRESHOLD, every_n_steps=period, stop=True), ByHand()
    trainer = fit(Evaluated(), tmp_path, start, ends, max_epochs=EPOCHS)
    assert start.started
    assert trainer.global_step == start.step < EPOCHS * BATCHES
    assert (start.step % BATCHES == 0) == (period is None)  # with every_n_steps, within an epoch
    assert max(ends.by_epoch) == start.epoch  # the hooks at the end of the last epoch are called
    if period is None:
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        again = StartOfTraining(threshold=THRESHOLD, stop=True)
        assert fit(Evaluated(), tmp_path, again, ckpt_path=tmp_path / "last.ckpt").global_step == start.step
        assert again.summary() == start.summary()
    else:  # min_epochs has priority
        start = StartOfTraining(threshold=THRESHOLD, every_n_steps=1, stop=True)
        assert start.step is None
        assert fit(Evaluated(), tmp_path, start, min_epochs=3).global_step == 3 * BATCHES > start.step


def test_a_largest_logit_that_is_not_finite_is_wrong():
    inf, nan = torch.inf, torch.nan
    for logits, right in (([2, 1, 0], 1), ([0, 1, 0], 0), ([nan, 1, 0], 0), ([2, 1, nan], 0), ([inf, 1, 0], 0),
                          ([2, 1, -inf], 1)):  # fmt: skip
        assert correct(torch.tensor([logits] * 4, dtype=torch.float32), torch.tensor([0, 0, 1, 0])) == 3 * right + (
            logits == [0, 1, 0]
        )


class Data(pl.LightningDataModule):
    """A datamodule that creates its test set in `setup("test")`, with two test loaders."""

    def setup(self, stage):
        if stage == "test":
            torch.rand(1)
            self.test = samples(VALIDATION, seed=2)

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH, shuffle=True)

    def test_dataloader(self):
        inputs, targets = self.test.tensors
        return [DataLoader(TensorDataset(inputs[rows], targets[rows]), 20) for rows in (slice(30), slice(30, None))]


def test_the_test_set_of_the_datamodule_has_priority_over_that_of_the_module(tmp_path):
    hand, start, task, alone = ByHand(), StartOfTraining(threshold=THRESHOLD), Evaluated(), Evaluated()
    task.test_dataloader = lambda: pytest.fail("the datamodule's is the run's test set")
    fit(task, tmp_path, hand, start, data=Data())
    assert start.accuracy == hand.by_epoch[start.epoch]
    fit(alone, tmp_path, data=Data())
    assert torch.equal(weights(task), weights(alone))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"forward": pl.LightningModule.forward}, "Refused: has no forward method"),
        ({"test_dataloader": lambda _: []}, "no test set"),
        ({"test_dataloader": lambda _: DataLoader(samples(0, seed=2))}, "test_dataloader: yielded no samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:Total length of .*DataLoader.* is zero")
def test_a_module_without_forward_or_test_set_is_refused(tmp_path, attributes, message):
    with pytest.raises(ValueError, match=message):
        fit(type("Refused", (Plain,), attributes)(), tmp_path, StartOfTraining(), limit_val_batches=0)
    with pytest.raises(ValueError, match=r"^threshold = 0: "):
        StartOfTraining(threshold=0)
