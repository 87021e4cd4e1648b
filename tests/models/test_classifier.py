"""The Classifier's shortcut past Module's attributes takes nothing else with it."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from src.datamodules.batch_order import BatchOrder
from src.datamodules.loader import TrainingLoader
from src.datamodules.samples import Samples
from src.models.classifier import Classifier

HOOK = "_current_fx_name"


@pytest.fixture
def classifier():
    return Classifier(nn.Linear(4, 3), partial(torch.optim.SGD, lr=0.1), classes=3)


def test_weights_modules_and_buffers_are_registered_as_in_any_module(classifier):
    classifier.scale = nn.Parameter(torch.ones(2))
    classifier.layer = nn.Linear(2, 2)
    classifier.register_buffer("count", torch.zeros(1))
    classifier.count = torch.ones(1)
    assert {"scale", "layer.weight", "count"} <= classifier.state_dict().keys()
    assert classifier.state_dict()["count"] == 1


def test_the_shortcut_is_for_a_name_that_lightning_uses(classifier):
    assert hasattr(pl.LightningModule(), HOOK)  # or it saves nothing
    setattr(classifier, HOOK, "training_step")
    assert vars(classifier)[HOOK] == getattr(classifier, HOOK) == "training_step"


def test_lightning_still_notes_in_which_hook_it_is(classifier):
    hooks = []
    classifier.on_before_zero_grad = lambda optimizer: hooks.append(getattr(classifier, HOOK))
    samples = Samples(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(classifier, TrainingLoader(samples, BatchOrder(2, 2)), [])
    assert hooks == ["on_before_zero_grad"]
