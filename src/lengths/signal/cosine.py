"""How different the activations of samples, and of the tokens of a sample, are in direction."""

import math

import torch
from torch import Tensor


def sample_distance(activation: Tensor) -> float:
    """Mean of 1 − cosine over all pairs of different samples; 0 if inputs can no longer be told apart.

    It equals the sum over samples of ‖u_i − ū‖² / (n − 1), where u_i is the activation of sample i divided by its norm
    and ū the mean over samples. In this form small distances are not lost to rounding.

    Args:
        activation: Shape (samples, …).

    Returns:
        Between 0 and 2; NaN for fewer than two samples with a finite norm above 0.

    Example:
        >>> sample_distance(torch.tensor([[1.0, 0.0], [0.0, 2.0]])), sample_distance(torch.ones(3, 2))
        (1.0, 0.0)
    """
    return float(_distance(activation.detach().flatten(1)[None].double())[0])


def token_distance(activation: Tensor) -> float:
    """Mean of 1 − cosine over all pairs of different tokens of a sample, and over samples.

    Args:
        activation: Shape (samples, tokens, units); any other number of axes has no tokens.

    Returns:
        Between 0 and 2; NaN if there are no tokens, or only one in each sample.

    Example:
        >>> token_distance(torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [3.0, 3.0]]]))
        0.5
    """
    if activation.dim() != 3 or activation.shape[1] < 2 or activation.shape[2] < 2:
        return math.nan
    distances = _distance(activation.detach().double())
    known = distances[~distances.isnan()]
    return float(known.mean()) if len(known) else math.nan


def _distance(vectors: Tensor) -> Tensor:
    """Return the mean distance within each group of vectors of shape (groups, vectors, units), shape (groups,)."""
    largest = vectors.abs().amax(-1, keepdim=True)
    vectors = vectors / largest  # against overflow of squares
    norms = vectors.norm(dim=-1, keepdim=True)
    alive = (largest > 0) & norms.isfinite() & (norms > 0)
    units = torch.where(alive, vectors / norms, 0.0)
    counts = alive.sum(1, keepdim=True)
    centred = torch.where(alive, units - units.sum(1, keepdim=True) / counts, 0.0)
    distances = centred.square().sum((1, 2)) / (counts[:, 0, 0] - 1)
    return torch.where(counts[:, 0, 0] > 1, distances, math.nan)
