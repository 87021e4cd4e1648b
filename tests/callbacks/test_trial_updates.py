"""What a range test's updates are taken with."""

import numpy as np
import pytest
import torch

from src.callbacks.range_test import RangeTest
from tests.callbacks.range_test_tasks import BATCHES, TEST, Plain, fit

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Watched(Plain):
    """Notes the rates and momenta that steps are taken with, of two groups; perhaps under a schedule."""

    def __init__(self, scheduled: bool, note) -> None:
        super().__init__()
        self.scheduled = scheduled
        self.note = note  # a list of this module's own would be put back

    def configure_optimizers(self):
        groups = [{"params": self.net[0].parameters(), "lr": 0.02}, {"params": self.net[2].parameters()}]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.7)
        optimizer.register_step_post_hook(self.note)
        if not self.scheduled:
            return optimizer
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.02, 0.1], total_steps=BATCHES)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        if not self.scheduled:
            optimizer.param_groups[0]["lr"] *= 1.0  # as a warm-up by hand would set it
        optimizer.step(closure=optimizer_closure)


@pytest.mark.parametrize("scheduled", [False, True])
def test_groups_keep_their_ratios_and_momentum_is_the_optimizers(tmp_path, scheduled):
    taken: list[tuple[float, float, float]] = []

    def note(optimizer, *_):
        first, second = optimizer.param_groups
        taken.append((first["lr"], second["lr"], second["momentum"]))

    test = RangeTest(**TEST, stop=True)
    fit(Watched(scheduled, note), tmp_path, test)
    small, large, momentum = np.array(taken).T
    np.testing.assert_array_equal(large, test.curves["learning_rate"])
    np.testing.assert_allclose(small / large, 0.2)
    assert (momentum == 0.7).all()  # where a schedule begins, it has made it 0.95
