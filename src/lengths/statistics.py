"""What one forward pass says of its lengths, and how such readings are pooled.

Three variances must not be confused: over the samples of a batch (here `variance`), over the layers
of one net (here `layer_variance`, failure mode 2), and over nets (src/ensembles).
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
    """Moments of the lengths of layers 0 … d over a set of samples; leading axes `…` are free.

    counts, mean: (…, d + 1). squares: (…, d + 1), Σ (M − mean)² over the samples.
    layer_variance, relative_layer_variance: (…,), means over the samples.
    """

    counts: Array
    mean: Array
    squares: Array
    layer_variance: Array
    relative_layer_variance: Array

    @property
    def variance(self) -> Array:
        """Over samples, ddof 1; NaN for one sample."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.counts > 1, self.squares / (self.counts - 1), np.nan)


def reading(lengths: Sequence[Tensor] | Tensor, work: Tensor | None = None) -> Tensor:
    """One forward pass packed into a vector of 3 (d + 1) + 2 numbers, on its device; see `unpack`.

    lengths: of layers 0 … d, (d + 1, …, samples) in float64, or (…, samples) of each; free axes, those of many nets,
    stand after the numbers. Packing lets many passes leave the device together. work: as large, to be overwritten;
    else it is allocated. Where layers see different numbers of samples, across-layer variance has no meaning: NaN.
    """
    if not isinstance(lengths, Tensor):
        if len({layer.shape[-1] for layer in lengths}) > 1:
            return _reading_of_uneven(lengths)
        lengths = torch.stack([*lengths])
    # Counts are filled in, not copied from a list: a copy to a GPU would wait for it.
    counts = lengths.new_full(lengths.shape[:-1], lengths.shape[-1])
    rest = None if work is None else work[1:]
    return torch.cat([counts, *_mean_and_squares(lengths, work), _across_layers(lengths[1:], rest)])


def unpack(readings: Array) -> Statistics:
    """Statistics from packed readings of shape (…, 3 (d + 1) + 2)."""
    counts, mean, squares = np.split(readings[..., :-2], 3, axis=-1)
    return Statistics(counts, mean, squares, readings[..., -2], readings[..., -1])


def pool(statistics: Statistics) -> Statistics:
    """The statistics of the union of the sample sets along the first axis, which goes.

    Mean of means weighted by counts; squares gain count · (mean − pooled mean)² of each set.
    Source: Chan, Golub & LeVeque 1983.
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
    """(1/d) Σ_j M_j² − ((1/d) Σ_j M_j)² over the first axis, the layers 1 … d, of (d, …): failure mode 2.

    mean: over the layers, where it is known already. work: as large as lengths, to be overwritten.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), definition of the empirical variance.
    """
    mean = lengths.mean(0) if mean is None else mean
    return torch.sub(lengths, mean, out=work).square_().mean(0)  # torch.var is ten times slower along the first axis


def _reading_of_uneven(lengths: Sequence[Tensor]) -> Tensor:
    counts = torch.stack([layer.new_full(layer.shape[:-1], layer.shape[-1]) for layer in lengths])
    by_layer = torch.stack([torch.stack(_mean_and_squares(layer)) for layer in lengths], dim=1)
    return torch.cat([counts, by_layer.flatten(0, 1), counts.new_full((2, *counts.shape[1:]), math.nan)])


def _across_layers(lengths: Tensor, work: Tensor | None) -> Tensor:
    """Mean over samples of the layer variance, raw and relative to the squared layer mean.

    A sample that is dead in every layer has a relative variance of 0, lest it hide all the others.
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
