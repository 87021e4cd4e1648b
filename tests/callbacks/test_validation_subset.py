"""The part of the validation set that is looked at depends on nothing but the set."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from start_training.callbacks.validation_subset import ValidationSubset, check_validates
from tests.callbacks.tasks import VALIDATION, Plain, fit, samples, small

pytestmark = small
INPUTS, TARGETS = samples(VALIDATION, seed=2).tensors
ORDER = TARGETS.argsort(stable=True)  # sorted by class


class Look(pl.Callback):
    """What is seen in a subset of so many samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def on_train_start(self, trainer, pl_module):
        subset = ValidationSubset(trainer, pl_module, self.samples)
        self.inputs, self.targets = (torch.cat(parts) for parts in zip(*subset._batches, strict=True))
        self.found = subset.evaluate(cross_entropy)


class Parts(Plain):
    """The sorted set, in two loaders and smaller batches or in one."""

    def __init__(self, *, first: int, size: int) -> None:
        super().__init__()
        self.first, self.size = first, size

    def val_dataloader(self):
        rows = [part for part in (ORDER[: self.first], ORDER[self.first :]) if len(part)]
        return [DataLoader(TensorDataset(INPUTS[part], TARGETS[part]), self.size) for part in rows]


@pytest.mark.parametrize(("first", "size"), [(0, 20), (13, 7)])
@pytest.mark.parametrize("wanted", [12, VALIDATION, 10_000])
def test_it_is_evenly_spaced_in_the_set_however_that_is_batched(tmp_path, first, size, wanted):
    task, look = Parts(first=first, size=size), Look(wanted)
    count = min(wanted, VALIDATION)
    chosen = ORDER[np.arange(count) * VALIDATION // count]
    logits = task.net(INPUTS[chosen]).detach()
    fit(task, tmp_path, look, max_epochs=1, limit_val_batches=0)  # the run itself need not validate
    assert torch.equal(look.inputs, INPUTS[chosen])
    assert torch.bincount(look.targets).min() >= 3  # of every class, where the first twelve are of one
    expected = (cross_entropy(logits, TARGETS[chosen]), (logits.argmax(1) == TARGETS[chosen]).float().mean())
    assert look.found == pytest.approx([float(value) for value in expected], rel=1e-5)


def test_data_that_keep_none_for_validation_are_named_by_the_setting():
    check_validates(None)
    check_validates(type("Data", (), {"validation": 0.1}))
    with pytest.raises(ValueError, match=r"^validation = 0: a range test needs validation data"):
        check_validates(type("Data", (), {"validation": 0}))
