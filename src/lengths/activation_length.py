"""The activation length of each sample in a batch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Where a float32 norm has neither overflowed nor lost digits to subnormal squares.
SAFE_NORM = (1e-16, 1e18)

# Up to so many values it takes less time to sum in float64 than to look whether float32 will do: in narrow nets it
# often will not, because some sample is dead.
FEW_VALUES = 2**14


def activation_lengths(activation: Tensor, *, look: bool = True) -> Tensor:
    """M = ‖act‖² / n of each sample of (samples, …) with n values a sample; shape (samples,), float64.

    Right wherever the activation itself is finite in float32, although its square may not be.
    Reads the activation once in the common case, copies nothing of its size there, and never waits
    for a device. look=False chooses how to reduce without looking at values, as `vmap` requires.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), definition of the length.

    Example:
        >>> activation_lengths(torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor([1., 0.], dtype=torch.float64)
    """
    norms, values = activation_norms(activation, look=look)
    return norms.double().square().div(values)


def activation_norms(activation: Tensor, *, look: bool = True, leading: int = 1) -> tuple[Tensor, int]:
    """(norms, n), with norms² / n the lengths; norms: (samples,) in float64, or in float32 where that will do.

    The part of `activation_lengths` that reads the activation: what is left can be done for many layers at once.
    leading: how many axes come before those of a sample; with 2 norms are (nets, samples).
    """
    activation = activation.detach()
    if activation.dim() == leading:
        activation = activation.unsqueeze(-1)
    if torch.compiler.is_compiling() or not look:  # a compiler fuses it all into its one pass
        values = _values(activation, leading)
        return activation.double().square().sum(_axes(activation, leading)).div(values).sqrt(), 1
    if torch.is_autocast_enabled(activation.device.type):  # asked first: to enter the context takes microseconds
        with torch.autocast(activation.device.type, enabled=False):
            return _norms(activation, leading), _values(activation, leading)
    return _norms(activation, leading), _values(activation, leading)


def lengths_of_layers(norms: Sequence[Tensor], values: Tensor, out: Tensor | None = None) -> Tensor:
    """Lengths (layers, samples) in float64, from `activation_norms` of layers of equally many samples.

    values: (layers,), each one's n, in float64. out: where to write them, as every allocation costs page faults.
    """
    if len({layer.dtype for layer in norms}) > 1:  # torch joins tensors of several types one number at a time
        norms = [layer.double() for layer in norms]
    stacked = torch.stack([*norms])
    lengths = stacked.double() if out is None else out.copy_(stacked)
    return lengths.square_().div_(values.unsqueeze(1))


def _norms(activation: Tensor, leading: int) -> Tensor:
    """The Euclidean norm over all axes but the leading ones."""
    if activation.device.type != "cpu":
        # Choosing by value would wait for the device, so take what is always right: float32 for half
        # precision, whose squares it holds, float64 for the rest.
        return _norm_in(torch.float32 if activation.dtype == torch.float16 else torch.float64, activation, leading)
    if activation.numel() <= FEW_VALUES:  # where three passes take less than vector_norm takes to begin
        return activation.double().square().sum(_axes(activation, leading)).sqrt_()
    norms = _norm_in(torch.promote_types(activation.dtype, torch.float32), activation, leading)
    return norms if _is_safe(norms) else _norm_in(torch.float64, activation, leading)


def _norm_in(dtype: torch.dtype, activation: Tensor, leading: int) -> Tensor:
    if activation.stride(-1) == 1 or activation.device.type != "cpu":
        return torch.linalg.vector_norm(activation, dim=_axes(activation, leading), dtype=dtype)
    return activation.to(dtype).square().sum(_axes(activation, leading)).sqrt_()  # of a CPU, ten times faster


def _axes(activation: Tensor, leading: int) -> tuple[int, ...]:
    return tuple(range(leading, activation.dim()))  # all at once: flattening a channels-last tensor would copy it


def _values(activation: Tensor, leading: int) -> int:
    return max(math.prod(activation.shape[leading:]), 1)


def _is_safe(norms: Tensor) -> bool:
    low, high = torch.aminmax(norms)
    return SAFE_NORM[0] < low.item() and high.item() < SAFE_NORM[1]
