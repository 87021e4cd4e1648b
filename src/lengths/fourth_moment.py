"""The fourth moment Σ_i x_i⁴ / ‖x‖⁴ of activations: how far a sample's activation is concentrated in few units."""

import torch
from torch import Tensor


def fourth_moments(activation: Tensor) -> Tensor:
    """Compute Σ_i x_i⁴ / ‖x‖⁴ of each sample: 1/n if all n entries are equal, 1 if a single entry is not 0.

    Unlike Σ x_i⁴ and ‖x‖⁴ the ratio neither overflows nor vanishes in deep nets. `mean_fourth_moment` computes the
    ratio of the means of both from it.
    Source: derived from the proof of theorem 5 of Hanin & Rolnick 2018 (arXiv:1803.01719): given a ReLU layer's input,
    E[M_j² | x] = (kappa_j/2)² M_{j−1}² (1 + (5 + 2 (kurtosis − 3) Σ_i x_i⁴ / ‖x‖⁴) / n_j).

    Args:
        activation: Shape (samples, …).

    Returns:
        Shape (samples,), float64; 0 where all entries are 0.

    Example:
        >>> fourth_moments(torch.tensor([[2.0, 2.0], [3.0, 0.0]])).tolist()
        [0.5, 1.0]
    """
    values = activation.detach().double().unsqueeze(-1).flatten(1)
    if not values.shape[1]:
        return values.new_zeros(len(values))
    largest = values.abs().amax(1, keepdim=True)
    squares = (values / torch.where(largest > 0, largest, 1.0)).square()
    norms = squares.sum(1)
    return squares.square().sum(1) / torch.where(norms > 0, norms, 1.0).square()


def mean_fourth_moment(fourth_moments: Tensor, log_lengths: Tensor) -> Tensor:
    """Compute E[Σ_i x_i⁴] / E[‖x‖⁴] over nets, the argument `fourth_moments` of theory's `log_moment_ratio`.

    It is the mean of Σ x_i⁴ / ‖x‖⁴ weighted with M², computed from log M so that lengths of any size can be used.

    Args:
        fourth_moments: Σ x_i⁴ / ‖x‖⁴ of each net, shape (nets, …).
        log_lengths: log M of each net, shape (nets, …).

    Returns:
        Shape (…), float64; NaN where all nets are dead.
    """
    return (fourth_moments * torch.softmax(2 * log_lengths.double(), 0)).sum(0)
