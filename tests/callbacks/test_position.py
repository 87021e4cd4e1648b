"""The scaling variable of a step, the global batch size, and the number of epochs trained."""

import math
from types import SimpleNamespace

import pytest
import torch

from start_training.callbacks.position import crosses, epochs_trained, global_batch, scaling_of, sgd_scaling
from tests.callbacks.tasks import BATCH, Resumable


def group(**settings):
    [group] = torch.optim.SGD([torch.zeros(1)], **{"lr": 0.1, **settings}).param_groups
    return group


def test_the_scaling_variable_is_computed_from_rate_momentum_and_batch_size():
    assert sgd_scaling(group(), 8) == 0.1 / 8
    assert sgd_scaling(group(momentum=0.9, weight_decay=1e-3, nesterov=True), 32) == pytest.approx(0.1 / (0.1 * 32))


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.0}, {"lr": math.inf}, {"lr": math.nan}, {"momentum": 1.0}, {"momentum": -0.1}, {"momentum": math.nan},
        {"momentum": 0.9, "dampening": 0.5}, {"dampening": 0.5},
    ],
)  # fmt: skip
def test_the_scaling_variable_is_nan_where_it_is_not_defined(settings):
    assert math.isnan(sgd_scaling({**group(), **settings}, 8))


def trainer_of(loader, *optimizers):
    return SimpleNamespace(train_dataloader=loader, optimizers=optimizers, world_size=3, accumulate_grad_batches=2)


@pytest.mark.parametrize(
    ("loader", "samples"),
    [
        (Resumable().train_dataloader(), 2 * BATCH),  # its batch size is that of all ranks
        (SimpleNamespace(batch_size=5), 30),
        (SimpleNamespace(batch_size=None, batch_sampler=SimpleNamespace(batch_size=4)), 24),
        (SimpleNamespace(batch_size=1), 6),
        ([], None),
        (SimpleNamespace(batch_size=0), None),
    ],
)
def test_the_global_batch_counts_all_ranks_and_accumulated_batches(loader, samples):
    sgd, adam = (kind([torch.zeros(1)], lr=0.1) for kind in (torch.optim.SGD, torch.optim.Adam))
    assert global_batch(trainer_of(loader)) == samples
    expected = math.nan if samples is None else 0.1 / samples
    assert scaling_of(trainer_of(loader, sgd)) == pytest.approx(expected, nan_ok=True)
    assert math.isnan(scaling_of(trainer_of(loader, adam))) and math.isnan(scaling_of(trainer_of(loader, sgd, sgd)))


@pytest.mark.parametrize(
    ("batches", "index", "starting", "epochs"),
    [(5, 4, False, 3.0), (5, 1, False, 2.4), (5, 1, True, 2.4), (5, 4, True, 2.0), (math.inf, 7, False, 3.0),
     (math.inf, 7, True, 2.0)],
)  # fmt: skip
def test_an_unfinished_epoch_counts_by_its_share_of_batches(batches, index, starting, epochs):
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_idx=index))
    trainer = SimpleNamespace(num_training_batches=batches, current_epoch=2, fit_loop=loop)
    assert epochs_trained(trainer, starting=starting) == pytest.approx(epochs)


def test_a_multiple_is_crossed_by_any_number_of_steps():
    assert [crosses(4, *pair) for pair in ((3, 4), (4, 4), (4, 7), (3, 9))] == [True, False, False, True]
    assert not crosses(None, 3, 9)
