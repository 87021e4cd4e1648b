"""A run cut in two by a checkpoint, under a real Trainer, against the same run in one piece."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from start_training.datamodules.digits import Digits
from tests.callbacks.tasks import Plain, fit, small, weights

# Lightning 2.6.6 asks torch 2.15 in a way that torch will drop
pytestmark = [small, pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")]

BATCHES = 6  # 1,437 samples in batches of 240, and none left out at the end
EVERY_EPOCH, EVERY_STEP = {"max_epochs": 3}, {"max_epochs": -1, "max_steps": 3 * BATCHES - 2}


class SaveOnce(pl.Callback):
    """Writes a checkpoint from the hook `hook` once `step` steps are done, and ends the run."""

    def __init__(self, path, hook: str, step: int) -> None:
        self.path, self.step = path, step
        setattr(self, hook, self.save)

    def save(self, trainer, *_) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.mark.parametrize(
    ("hook", "step", "length", "validation"),
    [
        ("on_train_batch_end", BATCHES + 2, EVERY_EPOCH, 0.1),
        ("on_train_batch_end", BATCHES + 2, EVERY_STEP, 0),
        ("on_train_batch_end", 2 * BATCHES, EVERY_EPOCH, 0),  # the last batch of an epoch
        ("on_train_batch_end", 2 * BATCHES, EVERY_STEP, 0.1),
        ("on_train_epoch_end", BATCHES, EVERY_EPOCH, 0.1),  # with max_steps, Lightning 2.6.6 skips the next epoch
        ("on_validation_end", BATCHES, EVERY_STEP, 0.1),
    ],
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, hook, step, length, validation):
    def trained(*callbacks, **resumed):
        torch.manual_seed(0)
        task = Plain(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
        data = Digits(batch_size=240, validation=validation, seed=3)
        fit(task, tmp_path, *callbacks, data=data, num_sanity_val_steps=2, **length, **resumed)
        return weights(task)

    whole, path = trained(), tmp_path / "resume.ckpt"
    assert not torch.equal(trained(SaveOnce(path, hook, step)), whole)
    assert torch.equal(trained(ckpt_path=path), whole)
