"""The length of a gradient with respect to an activation, sample by sample."""

from torch import Tensor

from start_training.lengths.activation_length import activation_lengths


def gradient_lengths(gradient: Tensor) -> Tensor:
    """‖∂L/∂act‖² of each sample, not divided by the width.

    It is the dual of the activation length: a random change of act whose length ‖Δ‖²/n is ε changes L by ε ‖∂L/∂act‖²
    in mean square. Going backward, a layer of ReLU units with any symmetric weight law multiplies it by kappa/2 on
    average, the factor by which it multiplies the length going forward, whatever the widths:
        E‖∂L/∂act_{j−1}‖² = n_{j−1} Var W · ½ ‖∂L/∂act_j‖² = (kappa_j/2) ‖∂L/∂act_j‖².
    Source: derived; He et al. 2015 (arXiv:1502.01852), section 2.2, whose backward condition counts the fan-out because
    it compares single entries, not norms.

    Args:
        gradient: ∂L/∂act, shape (samples, …).

    Returns:
        Shape (samples,), float64.

    Example:
        >>> import torch
        >>> gradient_lengths(torch.tensor([[3.0, 4.0]]))
        tensor([25.], dtype=torch.float64)
    """
    values = max(gradient.numel() // max(gradient.shape[0], 1), 1)
    return activation_lengths(gradient) * values
