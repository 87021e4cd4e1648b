"""The validation subset depends only on the validation set, not on its batches."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from start_training.callbacks.validation_subset import ValidationSubset, check_validates
from start_training.tasks.classification import Classification
from tests.callbacks.tasks import VALIDATION, Plain, fit, samples, small

pytestmark = small
INPUTS, TARGETS = samples(VALIDATION, seed=2).tensors
ORDER = TARGETS.argsort(stable=True)  # sorted by class


class EvaluateSubset(pl.Callback):
    """Evaluates a validation subset with the given number of samples at the start of training."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def on_train_start(self, trainer, pl_module):
        subset = ValidationSubset(trainer, pl_module, self.samples)
        self.inputs, self.targets = (torch.cat(parts) for parts in zip(*subset._batches, strict=True))
        self.means = subset.evaluate(Classification())


class Parts(Plain):
    """A module with validation samples sorted by class, in one or two loaders."""

    def __init__(self, *, first: int, size: int) -> None:
        super().__init__()
        self.first, self.size = first, size

    def val_dataloader(self):
        rows = [part for part in (ORDER[: self.first], ORDER[self.first :]) if len(part)]
        return [DataLoader(TensorDataset(INPUTS[part], TARGETS[part]), self.size) for part in rows]


@pytest.mark.parametrize(("first", "size"), [(0, 20), (13, 7)])
@pytest.mark.parametrize("requested", [12, VALIDATION, 10_000])
def test_the_samples_are_evenly_spaced_for_any_batches(tmp_path, first, size, requested):
    task, callback = Parts(first=first, size=size), EvaluateSubset(requested)
    count = min(requested, VALIDATION)
    chosen = ORDER[np.arange(count) * VALIDATION // count]
    logits = task.net(INPUTS[chosen]).detach()
    fit(task, tmp_path, callback, max_epochs=1, limit_val_batches=0)  # the run itself need not validate
    assert torch.equal(callback.inputs, INPUTS[chosen])
    assert torch.bincount(callback.targets).min() >= 3  # all classes, though the first twelve samples have the same
    expected = (cross_entropy(logits, TARGETS[chosen]), (logits.argmax(1) == TARGETS[chosen]).float().mean())
    assert callback.means == pytest.approx([float(value) for value in expected], rel=1e-5)


def test_missing_validation_data_are_reported_with_the_setting():
    check_validates(None)
    check_validates(type("Data", (), {"validation": 0.1}))
    with pytest.raises(ValueError, match=r"^validation = 0: a range test needs validation data"):
        check_validates(type("Data", (), {"validation": 0}))
