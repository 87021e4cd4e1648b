"""Training time is that of training: neither loading nor testing, and it goes on in a resumed run."""

import time

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from src.callbacks.training_time import TrainingTime
from src.models.classifier import Classifier

PAUSE = 0.2
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")  # a test's loader needs none


class Slow(pl.Callback):
    """Something slow before training, in every epoch of it, and after it."""

    def setup(self, trainer, pl_module, stage):
        time.sleep(3 * PAUSE)

    def on_train_epoch_start(self, trainer, pl_module):
        time.sleep(PAUSE)

    def on_test_start(self, trainer, pl_module):
        time.sleep(3 * PAUSE)


def train(timer: TrainingTime, epochs: int) -> None:
    data = DataLoader(TensorDataset(torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64)), batch_size=8)
    module = Classifier(nn.Linear(4, 2), lambda parameters: torch.optim.SGD(parameters, lr=0.1), classes=2)
    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", limit_val_batches=0, callbacks=[timer, Slow()], **off)
    trainer.fit(module, data, [])
    trainer.test(module, data, verbose=False)


def test_it_counts_from_the_first_step_to_the_last_epochs_end_and_goes_on_in_a_resumed_run():
    timer = TrainingTime()
    train(timer, epochs=2)
    seconds = timer.summary()["training_seconds"]
    assert 2 * PAUSE <= seconds < 3 * PAUSE + 2 * PAUSE
    resumed = TrainingTime()
    resumed.load_state_dict(timer.state_dict())
    train(resumed, epochs=1)
    assert seconds + PAUSE <= resumed.seconds < seconds + 3 * PAUSE + PAUSE
