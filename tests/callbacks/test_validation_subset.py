"""The part of the validation set that is looked at depends on nothing but the set."""

import numpy as np
import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader, TensorDataset

from src.callbacks.range_test import RangeTest
from src.callbacks.validation_subset import ValidationSubset
from tests.callbacks.range_test_tasks import TEST, VALIDATION, Plain, fit, samples

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class OtherBatches(Plain):
    """The same validation set, in two loaders and smaller batches."""

    def val_dataloader(self):
        inputs, targets = samples(VALIDATION, seed=2).tensors
        parts = [TensorDataset(inputs[rows], targets[rows]) for rows in (slice(13), slice(13, None))]
        return [DataLoader(part, 7) for part in parts]


def test_the_subset_does_not_depend_on_how_the_set_is_batched(tmp_path):
    one, other, all_of_it = RangeTest(**TEST), RangeTest(**TEST), RangeTest(**{**TEST, "val_samples": 10_000})
    for task, test in ((Plain(), one), (OtherBatches(), other), (Plain(), all_of_it)):
        fit(task, tmp_path, test, max_epochs=1, limit_val_batches=0)  # the run itself need not validate
    for name in ("val_loss", "val_accuracy"):
        np.testing.assert_allclose(one.curves[name], other.curves[name], rtol=1e-5)
        assert not np.allclose(one.curves[name].dropna(), all_of_it.curves[name].dropna(), rtol=1e-5)


class Look(pl.Callback):
    """The samples of a subset of 12."""

    def on_train_start(self, trainer, pl_module):
        subset = ValidationSubset(trainer, pl_module, 12)
        self.targets = np.concatenate([targets.numpy() for _, targets in subset._batches])


def test_every_class_is_in_it_where_the_set_is_sorted(tmp_path):
    class Sorted(Plain):
        def val_dataloader(self):
            inputs, targets = samples(VALIDATION, seed=2).tensors
            order = targets.argsort()
            return DataLoader(TensorDataset(inputs[order], targets[order]), 20)

    look = Look()
    fit(Sorted(), tmp_path, look, max_epochs=1)
    assert len(look.targets) == 12
    assert (np.diff(look.targets) >= 0).all()
    assert np.bincount(look.targets).min() >= 3  # the first twelve are of one class
