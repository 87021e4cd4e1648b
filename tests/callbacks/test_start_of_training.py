"""The callback in anyone's own Trainer: what it finds is what one finds by hand, and training does not notice it."""

import copy

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from src.callbacks.activation_lengths import ActivationLengths
from src.callbacks.start_of_training import StartOfTraining, sentence

BATCHES, EPOCHS = 6, 4
THRESHOLD = 0.6  # of three classes: the first steps stay below it

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # a test's loader needs none
    "ignore:.*smaller than the logging interval",
    "ignore:.*test_dataloader.*shuffling",
)


def samples(count: int, seed: int) -> TensorDataset:
    """Three classes that a net can learn to tell apart."""
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


class Task(pl.LightningModule):
    """Somebody's module: dropout and shuffled loaders draw from the global stream, batch norm keeps averages."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16), nn.BatchNorm1d(16),
            nn.ReLU(), nn.Linear(16, 3),
        )  # fmt: skip
        self.lr = lr
        self.calls: list[tuple] = []

    def forward(self, inputs):
        logits = self.net(inputs)
        self.calls.append((self.trainer.state.stage.value, self.net.training, torch.is_grad_enabled(), logits.dtype))
        return logits

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * 16, seed=1), 16, shuffle=True)

    def test_dataloader(self):
        return DataLoader(samples(50, seed=2), 20, shuffle=True)


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
        inputs, targets = samples(50, seed=2).tensors
        return float((copy.deepcopy(module.net).eval()(inputs).argmax(1) == targets).double().mean())


def fit(task: pl.LightningModule, *callbacks: pl.Callback, ckpt_path=None, datamodule=None, **options) -> pl.Trainer:
    options = {"max_epochs": EPOCHS, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
               "enable_progress_bar": False, "enable_model_summary": False, **options}  # fmt: skip
    trainer = pl.Trainer(callbacks=list(callbacks), **options)
    torch.manual_seed(3)
    trainer.fit(task, datamodule=datamodule, ckpt_path=ckpt_path)
    return trainer


def weights(task: pl.LightningModule) -> torch.Tensor:
    """Parameters, and the averages of batch norm."""
    return torch.cat([value.ravel().double() for value in task.state_dict().values()])


@pytest.mark.parametrize("micro_batches", [1, 2, 4])  # 4: the last step of an epoch has but 2 of them
@pytest.mark.parametrize("every", [1, 3])
def test_the_first_step_that_reaches_the_threshold_is_the_one_found_by_hand(every, micro_batches):
    hand, start = ByHand(), StartOfTraining(threshold=THRESHOLD, every_n_steps=every)
    fit(Task(), hand, start, accumulate_grad_batches=micro_batches, max_epochs=EPOCHS * micro_batches)
    looked = {step: accuracy for step, accuracy in hand.by_step.items() if step and step % every == 0}
    first = min(step for step, accuracy in looked.items() if accuracy >= THRESHOLD)
    assert first > every  # the first look was below
    per_epoch = -(-BATCHES // micro_batches)
    assert (start.step, start.epoch, start.accuracy) == (first, -(-first // per_epoch), looked[first])


def test_by_default_it_looks_at_the_end_of_every_epoch():
    hand, start = ByHand(), StartOfTraining(threshold=THRESHOLD)
    fit(Task(), hand, start)
    first = min(epoch for epoch, accuracy in hand.by_epoch.items() if accuracy >= THRESHOLD)
    assert first > 1
    assert (start.epoch, start.step, start.accuracy) == (first, first * BATCHES, hand.by_epoch[first])


def test_a_threshold_that_is_just_reached_is_reached():
    start = StartOfTraining(threshold=THRESHOLD, every_n_steps=1)
    fit(Task(), start)
    exact = StartOfTraining(threshold=start.accuracy, every_n_steps=1)
    fit(Task(), exact)
    assert exact.step == start.step


def test_a_net_that_never_gets_there_is_said_not_to_have_started():
    hand, start = ByHand(), StartOfTraining(threshold=0.99)
    trainer = fit(Task(lr=1e-3), hand, start, max_epochs=2)
    best = max(hand.by_epoch.values())
    assert start.summary()["start_of_training"] == {
        "metric": "test/accuracy", "threshold": 0.99, "every_n_steps": None, "epoch": None, "step": None,
        "accuracy": best,
    }  # fmt: skip
    said = sentence(start.summary()["start_of_training"], epochs=2, steps=trainer.global_step)
    assert said == f"training did not start: test accuracy {best:.2%} at best, below 99%, in 2 epochs (12 steps)"


def test_told_of_its_looks_without_a_trainer_it_finds_the_same():
    hand, start = ByHand(), StartOfTraining(threshold=THRESHOLD, every_n_steps=3)
    fit(Task(), hand, start)
    told = StartOfTraining(threshold=THRESHOLD, every_n_steps=3)
    for step, accuracy in hand.by_step.items():
        assert told.is_due(step - 1, step) == (step % 3 == 0)
        if told.is_due(step - 1, step):
            told.note(accuracy, epoch=1 + (step - 1) // BATCHES, step=step)
    assert told.started
    assert told.state_dict() == start.state_dict()
    assert not StartOfTraining().is_due(0, 100)  # it looks at the end of epochs


class Careless(pl.Callback):
    """Looks at the test set as one would without thinking of the run."""

    def on_train_epoch_end(self, trainer, pl_module):
        for inputs, _ in pl_module.test_dataloader():
            pl_module.net(inputs)


@pytest.mark.parametrize("every", [None, 1, 5])
def test_the_run_is_the_same_to_the_bit_as_without_it(tmp_path, every):
    alone, watched = Task(), Task()
    fit(alone, ActivationLengths(tmp_path / "alone"))
    fit(watched, ActivationLengths(tmp_path / "watched"), StartOfTraining(threshold=0.999, every_n_steps=every))
    assert sum(stage == "test" for stage, *_ in watched.calls) >= 3 * EPOCHS  # it did look
    assert torch.equal(weights(alone), weights(watched))
    for table in ("lengths", "steps"):
        one, other = (pd.read_parquet(tmp_path / name / table) for name in ("alone", "watched"))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_looking_without_care_would_be_noticed():
    """The control of the test above."""
    alone, watched = Task(), Task()
    fit(alone)
    fit(watched, Careless())
    assert not torch.equal(weights(alone), weights(watched))


def test_the_module_is_evaluated_as_in_a_test_and_given_back_as_it_was():
    class PartlyFrozen(Task):
        def on_train_epoch_start(self):
            self.net[1].eval()

        def on_train_batch_end(self, *_):
            self.modes = [module.training for module in self.net]
            self.stage = self.trainer.state.stage.value

    task = PartlyFrozen()
    fit(task, StartOfTraining(threshold=0.999, every_n_steps=2), precision="bf16-mixed", max_epochs=1)
    assert task.modes == [index != 1 for index in range(len(task.net))]
    assert task.stage == "train"
    assert torch.is_grad_enabled()
    assert set(task.calls) == {("train", True, True, torch.bfloat16), ("test", False, False, torch.bfloat16)}


def test_it_looks_no_more_once_training_has_started():
    task, start = Task(), StartOfTraining(threshold=0.01, every_n_steps=1)
    fit(task, start)
    assert start.step == 1
    assert sum(stage == "test" for stage, *_ in task.calls) == 3  # batches of one look


@pytest.mark.parametrize("every", [None, 1])
def test_asked_to_stop_it_ends_the_run_at_that_step(every):
    start, ends = StartOfTraining(threshold=THRESHOLD, every_n_steps=every, stop=True), ByHand()
    trainer = fit(Task(), start, ends)
    assert start.started
    assert trainer.global_step == start.step < EPOCHS * BATCHES
    assert (start.step % BATCHES == 0) == (every is None)  # by steps, in the middle of an epoch
    assert max(ends.by_epoch) == start.epoch  # the epoch it stops in has its end


def test_a_required_number_of_epochs_is_trained_all_the_same():
    start = StartOfTraining(threshold=THRESHOLD, every_n_steps=1, stop=True)
    trainer = fit(Task(), start, min_epochs=3)
    assert start.step < 3 * BATCHES == trainer.global_step


def test_a_run_resumed_after_it_was_to_stop_trains_no_more(tmp_path):
    start = StartOfTraining(threshold=THRESHOLD, stop=True)
    trainer = fit(Task(), start)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = StartOfTraining(threshold=THRESHOLD, stop=True)
    resumed = fit(Task(), again, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.global_step == start.step
    assert again.summary() == start.summary()


def test_what_was_found_with_another_threshold_is_not_taken_over():
    start = StartOfTraining(threshold=0.3)
    start.epoch, start.step, start.accuracy = 1, 6, 0.4
    same, other = StartOfTraining(threshold=0.3), StartOfTraining(threshold=0.5)
    for callback in (same, other):
        callback.load_state_dict(start.state_dict())
    assert same.summary() == start.summary()
    assert not other.started
    assert other.accuracy is None


def test_logits_that_are_not_finite_are_wrong_but_for_a_class_ruled_out():
    class OneClass(Task):
        """Every target is 0, the class that argmax names of NaNs."""

        def __init__(self, logit: float, of: int) -> None:
            super().__init__(lr=0.0)
            self.logit, self.of = logit, of

        def forward(self, inputs):
            logits = self.net(inputs)
            return torch.where(torch.arange(3) == self.of, self.logit, 0 * logits - torch.arange(3))

        def test_dataloader(self):
            return DataLoader(TensorDataset(torch.zeros(9, 8), torch.zeros(9, dtype=torch.int64)), 9)

    for logit, of, accuracy in ((torch.nan, 0, 0.0), (torch.nan, 2, 0.0), (torch.inf, 0, 0.0), (-torch.inf, 2, 1.0)):
        start = StartOfTraining()
        fit(OneClass(logit, of), start, max_epochs=1)
        assert (start.accuracy, start.started) == (accuracy, accuracy == 1.0)


class Data(pl.LightningDataModule):
    """Makes its test set when asked for a test, as Lightning's documentation has it; two loaders of it."""

    def setup(self, stage):
        if stage == "test":
            torch.rand(1)
            self.test = samples(50, seed=2)

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * 16, seed=1), 16, shuffle=True)

    def test_dataloader(self):
        inputs, targets = self.test.tensors
        return [DataLoader(TensorDataset(inputs[rows], targets[rows]), 20) for rows in (slice(30), slice(30, None))]


def test_a_datamodules_test_set_goes_before_the_modules():
    hand, start = ByHand(), StartOfTraining(threshold=THRESHOLD)
    task = Task()
    task.test_dataloader = lambda: pytest.fail("the datamodule's is the run's test set")
    fit(task, hand, start, datamodule=Data())
    assert start.accuracy == hand.by_epoch[start.epoch]
    alone = Task()
    fit(alone, datamodule=Data())
    assert torch.equal(weights(task), weights(alone))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({"threshold": value}, f"^threshold = {value}: ") for value in (0, 1, 20, -0.1, float("nan"))),
        *(({"every_n_steps": value}, f"^every_n_steps = {value}: ") for value in (0, -1, 1.5, True)),
    ],
)
def test_settings_no_run_could_use_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        StartOfTraining(**settings)


class Untested(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.lr = nn.Linear(8, 3), 0.1

    def training_step(self, batch, batch_idx):
        return cross_entropy(self.net(batch[0]), batch[1])

    configure_optimizers, train_dataloader = Task.configure_optimizers, Task.train_dataloader


class WithoutTestSet(Untested):
    def forward(self, inputs):
        return self.net(inputs)


class WithoutTestLoaders(WithoutTestSet):
    def test_dataloader(self):
        return []


class WithoutTestBatches(WithoutTestSet):
    def test_dataloader(self):
        return DataLoader(samples(0, seed=2))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Untested, "Untested has no forward"),
        (WithoutTestSet, "no test set"),
        (WithoutTestLoaders, "no test set"),
        (WithoutTestBatches, "no test set"),
    ],
)
def test_a_run_without_what_it_needs_is_refused(task, message):
    with pytest.raises(ValueError, match=message):
        fit(task(), StartOfTraining())
