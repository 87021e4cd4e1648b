"""The order of the batches as a function of (seed, epoch, step), and the shares of the ranks."""

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from start_training.datamodules.batch_order import BatchOrder


def every_rank(size: int, batch_size: int, ranks: int, seed: int = 5) -> list[BatchOrder]:
    return [BatchOrder(size, batch_size, seed=seed, ranks=ranks, rank=r) for r in range(ranks)]


def test_the_order_depends_only_on_seed_and_epoch():
    first, again = BatchOrder(50, 8, seed=0), BatchOrder(50, 4, seed=0, ranks=2, rank=1)
    np.random.seed(1)  # the global generator must not matter
    assert (first.permutation(3) == again.permutation(3)).all()
    assert (first.permutation(3) != first.permutation(4)).any()
    assert (first.permutation(3) != BatchOrder(50, 8, seed=1).permutation(3)).any()


@given(st.integers(1, 5), st.integers(0, 8), st.integers(0, 30))
@example(3, 4, 15)  # 22 samples in batches of 7: the last sample is too few for three ranks
def test_the_shares_of_all_ranks_form_the_global_batch(ranks, wider, more):
    batch_size = ranks + wider
    size = batch_size + more
    (alone,), orders = every_rank(size, batch_size, 1), every_rank(size, batch_size, ranks)
    assert len({len(order) for order in orders}) == 1
    inputs = torch.randn(size, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen: list[int] = []
    for step in range(len(orders[0])):
        shares = [order.share(2, step) for order in orders]
        assert (np.concatenate(shares) == alone.share(2, step)).all()
        assert min(map(len, shares)) >= 1 and max(map(len, shares)) - min(map(len, shares)) <= 1
        weighted = mean_over_ranks(inputs, orders, step, weights=True)
        torch.testing.assert_close(weighted, gradient(inputs, alone, step), rtol=1e-12, atol=1e-14)
        seen += np.concatenate(shares).tolist()
    remainder = size % batch_size
    assert orders[0].dropped == (remainder if remainder < ranks else 0)
    assert len(set(seen)) == len(seen) == size - orders[0].dropped


def test_without_weights_the_mean_over_ranks_is_not_the_mean_over_the_batch():
    inputs = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unweighted = mean_over_ranks(inputs, every_rank(7, 7, 3), 0, weights=False)
    assert not torch.allclose(unweighted, gradient(inputs, BatchOrder(7, 7, seed=5), 0), rtol=1e-3)


def gradient(inputs: torch.Tensor, order: BatchOrder, step: int) -> torch.Tensor:
    parameter = torch.ones(4, dtype=torch.float64, requires_grad=True)
    rows = inputs[torch.from_numpy(order.share(2, step))]
    (rows @ parameter).square().mean().backward()
    return parameter.grad


def mean_over_ranks(inputs: torch.Tensor, orders: list[BatchOrder], step: int, *, weights: bool) -> torch.Tensor:
    gradients = [(order.weight(step) if weights else 1) * gradient(inputs, order, step) for order in orders]
    return torch.stack(gradients).mean(dim=0)
