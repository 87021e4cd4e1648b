"""Random splits of a data set in two, which are the same in every run.

The split does not depend on the run's seed, so that the runs of a sweep over seeds use the same data and differ only in
initialization and batch order.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SEED = 2018


def cut_size(size: int, fraction: float) -> int:
    """Compute the number of samples to cut, ceil(fraction · size), which is at least one for a fraction above 0."""
    return math.ceil(fraction * size - 1e-9)  # rounding errors must not count: 0.07 * 100 is 7.000000000000001


def random_cut(size: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Split samples in two parts at random, by cutting a fraction of them.

    Args:
        size: Number of samples.
        fraction: Fraction of the samples to cut, in [0, 1].

    Returns:
        Indices of the remaining and of the cut samples, both ascending.

    Example:
        >>> remaining, cut = random_cut(10, 0.2)
        >>> len(remaining), len(cut)
        (8, 2)
    """
    order = np.random.default_rng(_SEED).permutation(size)
    return _kept_and_cut(size, order[: cut_size(size, fraction)])


def stratified_cut(targets: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Split samples in two parts at random, by cutting the same fraction of each class, to within one sample.

    Args:
        targets: Class numbers, shape (B,).
        fraction: Fraction of the samples to cut, in [0, 1].

    Returns:
        Indices of the remaining and of the cut samples, both ascending.
    """
    size = len(targets)
    shuffled = np.random.default_rng(_SEED).permutation(size)
    by_class = shuffled[np.argsort(targets.numpy()[shuffled], kind="stable")]
    count = cut_size(size, fraction)
    evenly_spaced = (2 * np.arange(count) + 1) * size // (2 * max(count, 1))
    return _kept_and_cut(size, by_class[evenly_spaced])


def _kept_and_cut(size: int, cut: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    is_cut = torch.zeros(size, dtype=torch.bool)
    is_cut[torch.from_numpy(cut)] = True
    return torch.nonzero(~is_cut).flatten(), torch.nonzero(is_cut).flatten()
