"""What becomes of states and perturbations of a square layer that is iterated: its Jacobian and Lyapunov exponent."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink

from start_training.models.activation import ACTIVATIONS, HOMOGENEOUS

START = 0.1  # deviation of a start: at the edge it takes q iterations ∝ 1 / q to fall from 1, and here q* is near 0
TINY = 1e-30  # float32 computes slowly with numbers below 1e-38
_SCALE_FREE = tuple(ACTIVATIONS[name] for name in HOMOGENEOUS)


class Asymptotics(NamedTuple):
    """Of each matrix: the mean squared singular value of the Jacobian, and the largest Lyapunov exponent."""

    jacobian: Tensor
    lyapunov: Tensor


@torch.no_grad()
def asymptotics(
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: nn.Module,
    iterations: int,
    starts: int,
    seed: int = 0,
) -> Asymptotics:
    """Of the map x ← φ(W x + b), iterated from `starts` starts; float64, of the shape (…) of the matrices.

    weight: (…, N, N); bias: (…, N) or none; activation: φ, elementwise. With D = diag φ'(W x + b):
    jacobian = ‖D W‖² / N (Frobenius), the χ of mean-field theory, 1 at the edge of chaos;
    lyapunov = mean log ‖D W v‖ of a perturbation v that is set back to ‖v‖ = 1 at each iteration, in nats per
    iteration: below 0 in the ordered phase, above 0 in the chaotic one.
    Both are means over the starts and over the second half of the iterations; the first half is to forget the start,
    of independent normal x_i of deviation 0.1, always the same ones for a seed. In float32; where φ is homogeneous
    (ReLU) and there is no bias, x is set back to its first size at each iteration, which changes neither number.
    An orbit that grows past all bounds, or a weight that is not finite, gives NaN; −∞ where all perturbations die.
    """
    weight, size = weight.float(), weight.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2 * starts, size, generator=generator).to(weight.device)
    # Rows are states: a product of few rows with W' takes a third of the time that W takes with few columns.
    state, tangent = drawn.expand(*weight.shape[:-2], -1, -1).split(starts, -2)
    state, homogeneous = START * state, bias is None and isinstance(activation, _SCALE_FREE)
    row_norms = weight.square().sum(-1).div_(size).unsqueeze(-2)
    jacobian, growth = (weight.new_zeros(*weight.shape[:-2], starts, dtype=torch.float64) for _ in range(2))
    for iteration in range(iterations):
        field, pushed = (torch.cat([state, tangent], -2) @ weight.mT).split(starts, -2)
        if bias is not None:
            field = field + bias.float().unsqueeze(-2)
        state, slope = _value_and_slope(activation, field)
        state = _resized(state) if homogeneous else hardshrink(state, TINY)
        tangent = slope * pushed
        norms = tangent.norm(dim=-1)
        tangent = tangent / norms.clamp(min=TINY).unsqueeze(-1)
        if 2 * iteration >= iterations:
            jacobian += (slope.square() * row_norms).sum(-1)
            growth += norms.log()
    counted = iterations - (iterations + 1) // 2
    return Asymptotics(jacobian.mean(-1) / counted, growth.mean(-1) / counted)


def _value_and_slope(activation: nn.Module, field: Tensor) -> tuple[Tensor, Tensor]:
    """φ and φ' at each element, by `forward`, around the hooks of a module that others watch."""
    with torch.enable_grad():
        at = field.detach().requires_grad_()
        value = activation.forward(at.clone())  # of its own, because φ may work in place
        [slope] = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope


def _resized(state: Tensor) -> Tensor:
    deviation = state.square().mean(-1, keepdim=True).sqrt()
    return state * (START / deviation.clamp(min=TINY))
