"""The Jacobian and the Lyapunov exponent of a square layer whose output is fed back as its input."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink

from start_training.models.activation import ACTIVATIONS, HOMOGENEOUS

# Standard deviation of the start states. It is small because the squared length q falls ever more slowly towards its
# fixed point near 0 at the edge of chaos: falling from 1 to q takes about 1 / q iterations.
START_DEVIATION = 0.1
TINY = 1e-30  # smaller values are set to 0, because float32 arithmetic is slow with numbers below 1e-38
_SCALE_FREE = tuple(ACTIVATIONS[name] for name in HOMOGENEOUS)


class Asymptotics(NamedTuple):
    """Mean squared singular value of the Jacobian and largest Lyapunov exponent of each of several matrices.

    Args:
        jacobian: ‖D W‖² / N for each matrix.
        lyapunov: Nats per iteration for each matrix.
    """

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
    """Measure the Jacobian and the Lyapunov exponent of the map x ← φ(W x + b), with D = diag φ'(W x + b).

    jacobian = ‖D W‖² / N (Frobenius), the χ of mean-field theory, which is 1 at the edge of chaos.
    lyapunov = mean log ‖D W v‖ of a perturbation v that is rescaled to ‖v‖ = 1 at each iteration, in nats per
    iteration: negative in the ordered phase, positive in the chaotic one.
    Both are means over the start states and the second half of the iterations. The start states have independent
    normal entries of standard deviation 0.1. The computation is in float32; if φ is homogeneous (ReLU) and there is no
    bias, x is rescaled at each iteration, which changes neither result.

    Args:
        weight: W, shape (…, N, N).
        bias: b, shape (…, N), or None.
        activation: φ, an elementwise module.
        iterations: Number of iterations; the first half is not counted, so that the start state is forgotten.
        starts: Number of start states.
        seed: Seed of the start states.

    Returns:
        Both results in float64, of shape (…). They are NaN if x overflows or a weight is not finite; the Lyapunov
        exponent is −∞ if all perturbations vanish.
    """
    weight, size = weight.float(), weight.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2 * starts, size, generator=generator).to(weight.device)
    # States are rows, since multiplying a few rows by W' takes a third of the time of multiplying W by a few columns.
    state, tangent = drawn.expand(*weight.shape[:-2], -1, -1).split(starts, -2)
    row_norms = weight.square().sum(-1).div_(size).unsqueeze(-2)
    jacobian, growth = (weight.new_zeros(*weight.shape[:-2], starts, dtype=torch.float64) for _ in range(2))
    orbit = _orbit(weight, bias, activation, START_DEVIATION * state, tangent)
    for iteration, (slope, norms) in zip(range(iterations), orbit, strict=False):
        if 2 * iteration >= iterations:
            jacobian += (slope.square() * row_norms).sum(-1)
            growth += norms.log()
    counted = iterations - (iterations + 1) // 2
    return Asymptotics(jacobian.mean(-1) / counted, growth.mean(-1) / counted)


def _orbit(
    weight: Tensor, bias: Tensor | None, activation: nn.Module, state: Tensor, tangent: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate endlessly, and yield φ' at the states and the norms of the perturbations before they are rescaled."""
    homogeneous = bias is None and isinstance(activation, _SCALE_FREE)
    while True:
        field, pushed = (torch.cat([state, tangent], -2) @ weight.mT).split(state.shape[-2], -2)
        if bias is not None:
            field = field + bias.float().unsqueeze(-2)
        state, slope = _value_and_slope(activation, field)
        state = _resized(state) if homogeneous else hardshrink(state, TINY)
        tangent = slope * pushed
        norms = tangent.norm(dim=-1)
        tangent = tangent / norms.clamp(min=TINY).unsqueeze(-1)
        yield slope, norms


def _value_and_slope(activation: nn.Module, field: Tensor) -> tuple[Tensor, Tensor]:
    """Compute φ and φ' of each element. It calls `forward` directly, so that no hooks of the module are triggered."""
    with torch.enable_grad():
        at = field.detach().requires_grad_()
        value = activation.forward(at.clone())  # a copy, because φ may work in place
        [slope] = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope


def _resized(state: Tensor) -> Tensor:
    deviation = state.square().mean(-1, keepdim=True).sqrt()
    return state * (START_DEVIATION / deviation.clamp(min=TINY))
