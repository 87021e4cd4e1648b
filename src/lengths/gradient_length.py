"""Computation of the squared norm of a gradient with respect to an activation, for each sample."""

from torch import Tensor

from start_training.lengths.activation_length import activation_lengths


def gradient_lengths(gradient: Tensor) -> Tensor:
    """Compute ‖∂L/∂act‖² of each sample, the squared norm of the loss gradient (not divided by the width).

    A random change Δ of act with length ‖Δ‖²/n = ε changes the loss L by ε ‖∂L/∂act‖² in mean square. Going backward, a
    ReLU layer with any symmetric weight distribution and any widths multiplies ‖∂L/∂act‖² by kappa/2 on average, as it
    multiplies the activation length going forward:
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
