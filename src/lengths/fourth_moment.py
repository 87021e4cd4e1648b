"""How much of a sample's activation lies in few of its units: what a kurtosis of the weights multiplies."""

import torch
from torch import Tensor


def fourth_moments(activation: Tensor) -> Tensor:
    """Σ_i x_i⁴ / ‖x‖⁴ of each sample of (samples, …); shape (samples,), float64.

    Between 1/n, all entries alike, and 1, a single one; 0 where all are zero. Unlike Σ x_i⁴ and ‖x‖⁴ themselves it
    neither overflows nor vanishes with depth; `mean_fourth_moment` makes the ratio of their means of it.
    Source: derived from the proof of theorem 5 of Hanin & Rolnick 2018 (arXiv:1803.01719): given a ReLU layer's input,
    E[M_j² | x] = (kappa_j/2)² M_{j−1}² (1 + (5 + 2 (kurtosis − 3) Σ_i x_i⁴ / ‖x‖⁴) / n_j).
    """
    values = activation.detach().double().unsqueeze(-1).flatten(1)
    if not values.shape[1]:
        return values.new_zeros(len(values))
    largest = values.abs().amax(1, keepdim=True)
    squares = (values / torch.where(largest > 0, largest, 1.0)).square()
    norms = squares.sum(1)
    return squares.square().sum(1) / torch.where(norms > 0, norms, 1.0).square()


def mean_fourth_moment(fourth_moments: Tensor, log_lengths: Tensor) -> Tensor:
    """E[Σ_i x_i⁴] / E[‖x‖⁴] over the first axis, of nets or samples: `log_moment_ratio` asks for it; shape (…).

    From each one's Σ x_i⁴ / ‖x‖⁴ and log M, both (nets, …): their mean, each weighted with M², so the same at any
    magnitude. NaN where every one is dead.
    """
    return (fourth_moments * torch.softmax(2 * log_lengths.double(), 0)).sum(0)
