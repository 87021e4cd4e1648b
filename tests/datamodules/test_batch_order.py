"""The order of the batches: a pure function of (seed, epoch, step), shared out among ranks."""

import numpy as np
import pytest
import torch

from src.datamodules.batch_order import BatchOrder

UNEVEN = [(23, 7, 1), (23, 7, 2), (23, 7, 3), (22, 7, 3), (21, 7, 3), (8, 8, 8), (9, 4, 4)]


def every_rank(size: int, batch_size: int, ranks: int, seed: int = 5) -> list[BatchOrder]:
    return [BatchOrder(size, batch_size, seed=seed, ranks=ranks, rank=r) for r in range(ranks)]


def test_the_order_depends_on_seed_and_epoch_and_nothing_else():
    first, again = BatchOrder(50, 8, seed=0), BatchOrder(50, 4, seed=0, ranks=2, rank=1)
    np.random.seed(1)  # the global generator has no say
    assert (first.permutation(3) == again.permutation(3)).all()
    assert (first.permutation(3) != first.permutation(4)).any()
    assert (first.permutation(3) != BatchOrder(50, 8, seed=1).permutation(3)).any()


@pytest.mark.parametrize("size, batch_size, ranks", UNEVEN)
def test_the_shares_of_all_ranks_make_the_batch_of_one(size, batch_size, ranks):
    (alone,), orders = every_rank(size, batch_size, 1), every_rank(size, batch_size, ranks)
    assert len({len(order) for order in orders}) == 1
    for step in range(len(orders[0])):
        shares = [order.share(2, step) for order in orders]
        assert (np.concatenate(shares) == alone.share(2, step)).all()
        assert {len(share) for share in shares} <= {len(shares[-1]) - 1, len(shares[-1])}
        assert all(len(share) for share in shares)


@pytest.mark.parametrize("size, batch_size, ranks", UNEVEN)
def test_an_epoch_sees_every_sample_once_but_for_a_last_batch_too_short_for_the_ranks(size, batch_size, ranks):
    orders = every_rank(size, batch_size, ranks)
    seen = [index for order in orders for step in range(len(order)) for index in order.share(0, step)]
    assert len(set(seen)) == len(seen) == size - orders[0].dropped
    remainder = size % batch_size
    assert orders[0].dropped == (remainder if remainder < ranks else 0)


@pytest.mark.parametrize("size, batch_size, ranks", UNEVEN)
def test_weighted_ranks_average_to_the_global_gradient(size, batch_size, ranks):
    inputs = torch.randn(size, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    orders = every_rank(size, batch_size, ranks)
    for step in range(len(orders[0])):
        weighted = mean_over_ranks(inputs, orders, step, weights=True)
        (alone,) = every_rank(size, batch_size, 1)
        torch.testing.assert_close(weighted, gradient(inputs, alone, step), rtol=1e-12, atol=0)


def test_unweighted_ranks_do_not():
    inputs = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unweighted = mean_over_ranks(inputs, every_rank(7, 7, 3), 0, weights=False)
    assert not torch.allclose(unweighted, gradient(inputs, BatchOrder(7, 7, seed=5), 0), rtol=1e-3)


def gradient(inputs: torch.Tensor, order: BatchOrder, step: int) -> torch.Tensor:
    parameter = torch.ones(4, dtype=torch.float64, requires_grad=True)
    rows = inputs[torch.from_numpy(order.share(0, step))]
    (rows @ parameter).square().mean().backward()
    return parameter.grad


def mean_over_ranks(inputs: torch.Tensor, orders: list[BatchOrder], step: int, *, weights: bool) -> torch.Tensor:
    gradients = [(order.weight(step) if weights else 1) * gradient(inputs, order, step) for order in orders]
    return torch.stack(gradients).mean(dim=0)


@pytest.mark.parametrize(
    "size, batch_size, ranks, message",
    [
        (1293, 5000, 1, "^batch_size = 5000: larger than the 1293 training samples$"),
        (1293, 2, 4, "^batch_size = 2: smaller than the number of ranks, 4$"),
    ],
)
def test_a_batch_that_does_not_fit_is_an_error(size, batch_size, ranks, message):
    with pytest.raises(ValueError, match=message):
        BatchOrder(size, batch_size, ranks=ranks)
