"""A run cut in two by a checkpoint, under a real Trainer, against the same run in one piece."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

from src.datamodules.digits import Digits

# Lightning 2.6.6 asks torch 2.15 in a way that torch will drop
pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")

EPOCHS, BATCHES = 3, 6  # 1,437 samples in batches of 240, and none left out at the end


class Linear(pl.LightningModule):
    """Softmax regression that remembers which samples it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(64, 10)
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch.inputs)
        return batch.weight * cross_entropy(self.layer(batch.inputs.flatten(1)), batch.targets)

    def validation_step(self, batch, batch_idx):
        loss = cross_entropy(self.layer(batch.inputs.flatten(1)), batch.targets)
        self.log("loss", loss, batch_size=len(batch.targets))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SaveOnce(pl.Callback):
    """Writes a checkpoint from the hook `hook` once `step` steps are done, and stops if told so."""

    def __init__(self, path: Path, hook: str, step: int) -> None:
        self.path, self.step = path, step
        setattr(self, hook, self.save)

    def save(self, trainer, *_) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def fit(*callbacks: pl.Callback, checkpoint: Path | None = None, validation: float = 0.1, **settings) -> Linear:
    model = Linear()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **({"max_epochs": EPOCHS} | settings),
    )
    datamodule = Digits(batch_size=240, validation=validation, seed=3)
    trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint)
    return model


EVERY_EPOCH = {"max_epochs": EPOCHS}
EVERY_STEP = {"max_epochs": -1, "max_steps": EPOCHS * BATCHES - 2}


@pytest.mark.parametrize(
    ("hook", "step", "length", "validation"),
    [
        ("on_train_batch_end", 1, EVERY_EPOCH, 0),
        ("on_train_batch_end", BATCHES + 2, EVERY_EPOCH, 0.1),
        ("on_train_batch_end", BATCHES + 2, EVERY_STEP, 0),
        ("on_train_batch_end", 2 * BATCHES, EVERY_EPOCH, 0),  # the last batch of an epoch
        ("on_train_batch_end", 2 * BATCHES, EVERY_STEP, 0.1),
        ("on_train_epoch_end", BATCHES, EVERY_EPOCH, 0.1),  # with max_steps, Lightning 2.6.6 skips the next epoch
        ("on_validation_end", BATCHES, EVERY_STEP, 0.1),
    ],
)
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(tmp_path, hook, step, length, validation):
    whole = fit(validation=validation, **length)
    seen, resumed = interrupted(tmp_path / "resume.ckpt", hook, step, length, validation)
    assert len(seen) == len(whole.seen)
    assert all(torch.equal(a, b) for a, b in zip(seen, whole.seen, strict=True))
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


def interrupted(
    path: Path, hook: str, step: int, length: dict[str, int], validation: float
) -> tuple[list[torch.Tensor], Linear]:
    first = fit(SaveOnce(path, hook, step), validation=validation, **length)
    second = fit(checkpoint=path, validation=validation, **length)
    return first.seen[:step] + second.seen, second
