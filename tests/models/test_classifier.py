"""`Classifier.__setattr__` skips the checks of nn.Module for a single attribute of Lightning."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from start_training.models.classifier import Classifier
from tests.callbacks.tasks import Resumable, fit, small

HOOK = "_current_fx_name"
pytestmark = small


@pytest.fixture
def classifier():
    return Classifier(nn.Linear(8, 3), partial(torch.optim.SGD, lr=0.1), classes=3)


def test_parameters_modules_and_buffers_are_registered(classifier):
    classifier.scale = nn.Parameter(torch.ones(2))
    classifier.layer = nn.Linear(2, 2)
    classifier.register_buffer("count", torch.zeros(1))
    classifier.count = torch.ones(1)
    assert {"scale", "layer.weight", "count"} <= classifier.state_dict().keys()
    assert classifier.state_dict()["count"] == 1


def test_lightning_records_the_name_of_the_current_hook(classifier, tmp_path):
    hooks = []
    assert hasattr(pl.LightningModule(), HOOK)  # Lightning still has this attribute
    classifier.on_before_zero_grad = lambda optimizer: hooks.append(vars(classifier)[HOOK])
    classifier.train_dataloader = Resumable().train_dataloader
    fit(classifier, tmp_path, max_steps=1, limit_val_batches=0)
    assert hooks == ["on_before_zero_grad"]
