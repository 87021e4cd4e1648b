"""Statistics of the lengths of one forward pass, and how those of several passes are pooled.

Three variances must not be confused: over the samples of a batch (here `variance`), over the layers of one net (here
`layer_variance`, failure mode 2), and over nets (src/ensembles).
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
    """Moments of the lengths of layers 0 … d over a set of samples, with any leading axes `…`.

    Args:
        counts: Number of samples at each layer, shape (…, d + 1).
        mean: Of their lengths, shape (…, d + 1).
        squares: Σ (M − mean)² over the samples, shape (…, d + 1).
        layer_variance: See the function `layer_variance`; its mean over the samples, shape (…).
        relative_layer_variance: The mean over the samples of layer_variance over the squared mean length of the
            layers, shape (…).
    """

    counts: Array
    mean: Array
    squares: Array
    layer_variance: Array
    relative_layer_variance: Array

    @property
    def variance(self) -> Array:
        """Variance of lengths over samples, ddof 1, shape (…, d + 1); NaN for one sample."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.counts > 1, self.squares / (self.counts - 1), np.nan)


def reading(lengths: Sequence[Tensor] | Tensor, work: Tensor | None = None) -> Tensor:
    """The statistics of one forward pass, packed into a tensor, so that many passes leave the device together.

    Args:
        lengths: Of layers 0 … d, shape (d + 1, …, samples) in float64, or a sequence of (…, samples) of each layer,
            where … are further axes, such as that of many nets.
        work: A tensor of the shape of lengths that may be overwritten; allocated if it is not given.

    Returns:
        Shape (3 (d + 1) + 2, …), on the device of lengths; see `unpack`. Where layers have different numbers of
        samples, variance over layers has no meaning and is NaN.
    """
    if not isinstance(lengths, Tensor):
        if len({layer.shape[-1] for layer in lengths}) > 1:
            return _reading_of_uneven(lengths)
        lengths = torch.stack([*lengths])
    # Counts are filled in, not copied from a list, as a copy to a GPU would wait for it.
    counts = lengths.new_full(lengths.shape[:-1], lengths.shape[-1])
    rest = None if work is None else work[1:]
    return torch.cat([counts, *_mean_and_squares(lengths, work), _across_layers(lengths[1:], rest)])


def unpack(readings: Array) -> Statistics:
    """Statistics from the packed results of `reading`, stacked to shape (…, 3 (d + 1) + 2).

    Example:
        >>> unpack(reading(torch.tensor([[1.0, 3.0], [2.0, 2.0]]).double()).numpy()).mean
        array([2., 2.])
    """
    counts, mean, squares = np.split(readings[..., :-2], 3, axis=-1)
    return Statistics(counts, mean, squares, readings[..., -2], readings[..., -1])


def pool(statistics: Statistics) -> Statistics:
    """The statistics of the union of several sample sets.

    The mean is that of the sets' means weighted by counts; squares gain count · (mean − pooled mean)² of each set.
    Source: Chan, Golub & LeVeque 1983.

    Args:
        statistics: Of the sets, along the first axis of each array.

    Returns:
        Arrays without that axis.
    """
    counts, mean, squares, *across = statistics
    total = counts.sum(0)
    pooled = (counts * mean).sum(0) / total
    with np.errstate(invalid="ignore"):  # inf − inf where a net has exploded
        between = counts * (mean - pooled) ** 2
    samples = counts[..., 0]
    weighted = [(samples * value).sum(0) / samples.sum(0) for value in across]
    return Statistics(total, pooled, (squares + between).sum(0), *weighted)


def layer_variance(lengths: Tensor, mean: Tensor | None = None, work: Tensor | None = None) -> Tensor:
    """(1/d) Σ_j M_j² − ((1/d) Σ_j M_j)² over the layers j = 1 … d: failure mode 2.

    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), definition of the empirical variance.

    Args:
        lengths: Shape (d, …).
        mean: Over the layers, if it is known already.
        work: A tensor of the shape of lengths that may be overwritten.

    Returns:
        Shape (…).

    Example:
        >>> layer_variance(torch.tensor([1.0, 3.0]))
        tensor(1.)
    """
    mean = lengths.mean(0) if mean is None else mean
    return torch.sub(lengths, mean, out=work).square_().mean(0)  # torch.var is ten times slower along the first axis


def _reading_of_uneven(lengths: Sequence[Tensor]) -> Tensor:
    counts = torch.stack([layer.new_full(layer.shape[:-1], layer.shape[-1]) for layer in lengths])
    by_layer = torch.stack([torch.stack(_mean_and_squares(layer)) for layer in lengths], dim=1)
    return torch.cat([counts, by_layer.flatten(0, 1), counts.new_full((2, *counts.shape[1:]), math.nan)])


def _across_layers(lengths: Tensor, work: Tensor | None) -> Tensor:
    """Mean over samples of the layer variance, raw and relative to the squared layer mean.

    A sample that is dead in every layer has a relative variance of 0, so that the mean over samples is not NaN.
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
    return mean, squares.sum(-1)  # two passes: exact, and faster than torch.var_mean
