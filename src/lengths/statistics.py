"""Statistics of the activation lengths of a forward pass, and pooling of the statistics of several passes.

Three variances must not be confused: over the samples of a batch (`Statistics.variance`), over the layers of one net
(`layer_variance`, failure mode 2), and over nets (src/ensembles).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class Statistics(NamedTuple):
    """Moments of the activation lengths M of layers 0 … d over a set of samples, with any leading axes `…`.

    Args:
        counts: Number of samples at each layer, shape (…, d + 1).
        mean: Mean length over the samples, shape (…, d + 1).
        squares: Σ (M − mean)² over the samples, shape (…, d + 1).
        layer_variance: Mean over the samples of the function `layer_variance`, shape (…).
        relative_layer_variance: Mean over the samples of `layer_variance` divided by the squared mean of the sample's
            lengths over the layers, shape (…).
    """

    counts: Array
    mean: Array
    squares: Array
    layer_variance: Array
    relative_layer_variance: Array

    @property
    def variance(self) -> Array:
        """Unbiased variance of the lengths over the samples, shape (…, d + 1); NaN for a single sample."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.counts > 1, self.squares / (self.counts - 1), np.nan)


def pack_statistics(
    lengths: Sequence[Tensor] | Tensor, work: Tensor | None = None, *, sampled: Sequence[bool] | None = None
) -> Tensor:
    """Compute the statistics of one forward pass, packed into one tensor that is cheap to copy from a GPU.

    Args:
        lengths: Lengths of layers 0 … d in float64, shape (d + 1, …, samples), or a sequence with a tensor (…, samples)
            for each layer, where … are further axes, such as an axis of nets.
        work: A tensor of the shape of lengths that may be overwritten; None allocates one.
        sampled: For each layer whether it has samples of its own; None if all have. A layer without has no variance.

    Returns:
        Packed statistics for `unpack_statistics`, shape (3 (d + 1) + 2, …), on the device of lengths. The
        variance over layers is that of the layers that have samples; if their numbers differ, it is undefined and NaN.
    """
    if not isinstance(lengths, Tensor):
        if len({layer.shape[-1] for layer in lengths}) > 1 or not all(sampled or [True]):
            return _pack_uneven(lengths, sampled or [True] * len(lengths))
        lengths = torch.stack([*lengths])
    # Counts are filled in rather than copied from a list, because a copy to a GPU would wait for it.
    counts = lengths.new_full(lengths.shape[:-1], lengths.shape[-1])
    rest = None if work is None else work[1:]
    return torch.cat([counts, *_mean_and_squares(lengths, work), _across_layers(lengths[1:], rest)])


def unpack_statistics(readings: Array) -> Statistics:
    """Convert packed results of `pack_statistics`, stacked to shape (…, 3 (d + 1) + 2), to `Statistics`.

    Example:
        >>> unpack_statistics(pack_statistics(torch.tensor([[1.0, 3.0], [2.0, 2.0]]).double()).numpy()).mean
        array([2., 2.])
    """
    counts, mean, squares = np.split(readings[..., :-2], 3, axis=-1)
    return Statistics(counts, mean, squares, readings[..., -2], readings[..., -1])


def pool(statistics: Statistics) -> Statistics:
    """Compute the statistics of the union of several sets of samples from the statistics of each set.

    The pooled mean is the mean of the sets' means weighted by their counts. The pooled `squares` are the sum of the
    sets' squares and of count · (mean − pooled mean)² of each set.
    Source: Chan, Golub & LeVeque 1983.

    Args:
        statistics: Statistics of the sets, which are the first axis of each array.

    Returns:
        The same arrays without the first axis.
    """
    counts, mean, squares, *across = statistics
    total = counts.sum(0)
    pooled = (counts * mean).sum(0) / total
    with np.errstate(invalid="ignore"):  # lengths can be infinite, and inf − inf is NaN
        between = counts * (mean - pooled) ** 2
    samples = counts[..., 0]
    weighted = [(samples * value).sum(0) / samples.sum(0) for value in across]
    return Statistics(total, pooled, (squares + between).sum(0), *weighted)


def layer_variance(lengths: Tensor, mean: Tensor | None = None, work: Tensor | None = None) -> Tensor:
    """Compute the variance of the length over layers j = 1 … d, (1/d) Σ_j M_j² − ((1/d) Σ_j M_j)².

    A large value is failure mode 2.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), definition of the empirical variance.

    Args:
        lengths: Lengths M_j, shape (d, …).
        mean: Mean of lengths over the layers, shape (…); computed if None.
        work: A tensor of the shape of lengths that may be overwritten; None allocates one.

    Returns:
        Shape (…).

    Example:
        >>> layer_variance(torch.tensor([1.0, 3.0]))
        tensor(1.)
    """
    mean = lengths.mean(0) if mean is None else mean
    return torch.sub(lengths, mean, out=work).square_().mean(0)  # torch.var is ten times slower along the first axis


def _pack_uneven(lengths: Sequence[Tensor], sampled: Sequence[bool]) -> Tensor:
    counts = torch.stack([layer.new_full(layer.shape[:-1], layer.shape[-1]) for layer in lengths])
    by_layer = torch.stack([torch.stack(_mean_and_squares(layer)) for layer in lengths], dim=1)
    for layer, has_samples in enumerate(sampled):
        if not has_samples:
            by_layer[1, layer] = math.nan
    own = [layer for layer, has_samples in zip(lengths[1:], sampled[1:], strict=True) if has_samples]
    even = len({layer.shape[-1] for layer in own}) == 1
    across = _across_layers(torch.stack(own), None) if even else counts.new_full((2, *counts.shape[1:]), math.nan)
    return torch.cat([counts, by_layer.flatten(0, 1), across])


def _across_layers(lengths: Tensor, work: Tensor | None) -> Tensor:
    """Compute the mean over samples of the layer variance, absolute and divided by the squared mean over layers.

    A sample with length 0 in every layer counts with a relative variance of 0, so that the mean is not NaN.
    """
    if len(lengths) == 0:
        return lengths.new_full((2, *lengths.shape[1:-1]), math.nan)
    mean = lengths.mean(0)
    raw = layer_variance(lengths, mean, work)
    relative = (raw / mean.square()).masked_fill_(mean == 0, 0.0)
    return torch.stack([raw, relative]).mean(-1)


def _mean_and_squares(lengths: Tensor, work: Tensor | None = None) -> tuple[Tensor, Tensor]:
    mean = lengths.mean(-1)
    squares = torch.sub(lengths, mean.unsqueeze(-1), out=work).square_()
    return mean, squares.sum(-1)  # two passes are accurate and faster than torch.var_mean
