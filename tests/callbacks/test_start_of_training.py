"""The callback in anyone's own Trainer: what it finds is what one finds by hand, and training does not notice it."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from start_training.callbacks.evaluation import correct
from start_training.callbacks.start_of_training import StartOfTraining, sentence
from tests.callbacks.tasks import BATCH, BATCHES, VALIDATION, Evaluated, Plain, fit, samples, small, weights

EPOCHS = 4
THRESHOLD = 0.6  # of three classes: the first steps stay below it
pytestmark = small


class ByHand(pl.Callback):
    """Test accuracy after every optimizer step and at every epoch's end, of a copy of the net."""

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


@pytest.mark.parametrize(("every", "micro_batches"), [(1, 1), (3, 2), (3, 4)])  # 4: an epoch's last step has but 2
def test_the_first_step_that_reaches_the_threshold_is_the_one_found_by_hand(tmp_path, every, micro_batches):
    hand, start = ByHand(), StartOfTraining(threshold=THRESHOLD, every_n_steps=every)
    options = {"accumulate_grad_batches": micro_batches, "max_epochs": EPOCHS * micro_batches}
    fit(Evaluated(), tmp_path, hand, start, **options)
    looked = {step: accuracy for step, accuracy in hand.by_step.items() if step and step % every == 0}
    first = min(step for step, accuracy in looked.items() if accuracy >= THRESHOLD)
    assert first > every  # the first look was below
    per_epoch = -(-BATCHES // micro_batches)
    assert (start.step, start.epoch, start.accuracy) == (first, -(-first // per_epoch), looked[first])
    told = StartOfTraining(threshold=THRESHOLD, every_n_steps=every)  # without a trainer
    for step, accuracy in hand.by_step.items():
        if step and step % every == 0:
            told.add(accuracy, epoch=1 + (step - 1) // per_epoch, step=step)
    assert told.started and told.state_dict() == start.state_dict()


def test_it_keeps_the_best_until_a_threshold_is_just_reached_and_nothing_after():
    start = StartOfTraining(threshold=0.5, every_n_steps=4)
    for accuracy, best in ((0.3, 0.3), (0.4, 0.4), (0.2, 0.4)):
        start.add(accuracy, epoch=1, step=4)
        assert (start.accuracy, start.started) == (best, False)
    for accuracy in (0.5, 0.9):
        start.add(accuracy, epoch=2, step=8)
    found = {"metric": "test/accuracy", "threshold": 0.5, "every_n_steps": 4, "epoch": 2, "step": 8, "accuracy": 0.5}
    assert start.summary() == {"start_of_training": found}
    same, other = StartOfTraining(threshold=0.5, every_n_steps=4), StartOfTraining(threshold=0.6, every_n_steps=4)
    for callback in (same, other):
        callback.load_state_dict(start.state_dict())
    assert same.summary() == start.summary()
    assert not other.started and other.accuracy is None


def test_a_net_that_never_gets_there_is_said_not_to_have_started():
    said = {"threshold": 0.99, "epoch": None, "step": None, "accuracy": 0.345}
    assert "did not start: test accuracy 34.50% at best, below 99%" in sentence(said, epochs=2, steps=12)
    assert "before test accuracy was first measured" in sentence({**said, "accuracy": None}, epochs=0, steps=3)


def test_the_module_is_evaluated_as_in_a_test_and_given_back_as_it_was(tmp_path):
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


@pytest.mark.parametrize("every", [None, 1])
def test_asked_to_stop_it_ends_the_run_at_that_step_and_so_it_is_when_resumed(tmp_path, every):
    start, ends = StartOfTraining(threshold=THRESHOLD, every_n_steps=every, stop=True), ByHand()
    trainer = fit(Evaluated(), tmp_path, start, ends, max_epochs=EPOCHS)
    assert start.started
    assert trainer.global_step == start.step < EPOCHS * BATCHES
    assert (start.step % BATCHES == 0) == (every is None)  # by steps, in the middle of an epoch
    assert max(ends.by_epoch) == start.epoch  # the epoch it stops in has its end
    if every is None:
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        again = StartOfTraining(threshold=THRESHOLD, stop=True)
        assert fit(Evaluated(), tmp_path, again, ckpt_path=tmp_path / "last.ckpt").global_step == start.step
        assert again.summary() == start.summary()
    else:  # a required number of epochs is trained all the same
        start = StartOfTraining(threshold=THRESHOLD, every_n_steps=1, stop=True)
        assert start.step is None
        assert fit(Evaluated(), tmp_path, start, min_epochs=3).global_step == 3 * BATCHES > start.step


def test_logits_that_are_not_finite_are_wrong_but_for_a_class_ruled_out():
    inf, nan = torch.inf, torch.nan
    for logits, right in (([2, 1, 0], 1), ([0, 1, 0], 0), ([nan, 1, 0], 0), ([2, 1, nan], 0), ([inf, 1, 0], 0),
                          ([2, 1, -inf], 1)):  # fmt: skip
        assert correct(torch.tensor([logits] * 4, dtype=torch.float32), torch.tensor([0, 0, 1, 0])) == 3 * right + (
            logits == [0, 1, 0]
        )


class Data(pl.LightningDataModule):
    """Makes its test set when asked for a test, as Lightning's documentation has it; two loaders of it."""

    def setup(self, stage):
        if stage == "test":
            torch.rand(1)
            self.test = samples(VALIDATION, seed=2)

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH, seed=1), BATCH, shuffle=True)

    def test_dataloader(self):
        inputs, targets = self.test.tensors
        return [DataLoader(TensorDataset(inputs[rows], targets[rows]), 20) for rows in (slice(30), slice(30, None))]


def test_a_datamodules_test_set_goes_before_the_modules(tmp_path):
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
def test_a_run_without_what_it_needs_is_refused(tmp_path, attributes, message):
    with pytest.raises(ValueError, match=message):
        fit(type("Refused", (Plain,), attributes)(), tmp_path, StartOfTraining(), limit_val_batches=0)
    with pytest.raises(ValueError, match=r"^threshold = 0: "):
        StartOfTraining(threshold=0)
