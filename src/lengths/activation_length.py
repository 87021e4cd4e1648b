"""Computation of the activation length M = ‖act‖² / n of each sample in a batch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Range in which a float32 norm has neither overflowed nor lost digits to subnormal squares.
SAFE_NORM = (1e-16, 1e18)

# Up to this many values it is faster to sum in float64 than to check whether float32 suffices. In narrow nets float32
# often does not suffice, because some sample has length 0.
FEW_VALUES = 2**14


def activation_lengths(activation: Tensor, *, data_dependent: bool = True) -> Tensor:
    """Compute the activation length M = ‖act‖² / n of each sample, where n is the number of values of a sample.

    The result is correct for any activation that is finite in float32, even if its square overflows. In the common case
    the activation is read once and not copied. On a GPU the function does not synchronize with the host.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), definition of the length.

    Args:
        activation: Shape (samples, …).
        data_dependent: Whether the precision of the sum may be chosen by looking at values, which `vmap` does not
            allow.

    Returns:
        Shape (samples,), float64.

    Example:
        >>> activation_lengths(torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor([1., 0.], dtype=torch.float64)
    """
    norms, values = activation_norms(activation, data_dependent=data_dependent)
    return norms.double().square().div(values)


def activation_norms(activation: Tensor, *, data_dependent: bool = True, leading: int = 1) -> tuple[Tensor, int]:
    """Compute norms of each sample and a number n such that the activation lengths are norms² / n.

    This is the part of `activation_lengths` that reads the activation. `lengths_of_layers` converts the norms of many
    layers to lengths at once.

    Args:
        activation: Shape (samples, …), or (nets, samples, …) with leading=2.
        data_dependent: Whether the precision of the sum may be chosen by looking at values, which `vmap` does not
            allow.
        leading: Number of axes before those of a sample.

    Returns:
        Norms, of the shape of the leading axes, in float64, or in float32 if that is precise enough; and n.
    """
    activation = activation.detach()
    if activation.dim() == leading:
        activation = activation.unsqueeze(-1)
    if torch.compiler.is_compiling() or not data_dependent:  # a compiler fuses this into one pass
        values = _values(activation, leading)
        return activation.double().square().sum(_axes(activation, leading)).div(values).sqrt(), 1
    if torch.is_autocast_enabled(activation.device.type):  # entering the context takes microseconds
        with torch.autocast(activation.device.type, enabled=False):
            return _norms(activation, leading), _values(activation, leading)
    return _norms(activation, leading), _values(activation, leading)


def lengths_of_layers(norms: Sequence[Tensor], values: Tensor, out: Tensor | None = None) -> Tensor:
    """Compute the activation lengths of several layers from their `activation_norms`.

    Args:
        norms: Norms of each layer, shape (samples,), with the same number of samples in all layers.
        values: n of each layer, shape (layers,), float64.
        out: Tensor for the result, which saves the time to allocate one.

    Returns:
        Shape (layers, samples), float64.
    """
    if len({layer.dtype for layer in norms}) > 1:  # torch is slow at stacking tensors of several types
        norms = [layer.double() for layer in norms]
    stacked = torch.stack([*norms])
    lengths = stacked.double() if out is None else out.copy_(stacked)
    return lengths.square_().div_(values.unsqueeze(1))


def _norms(activation: Tensor, leading: int) -> Tensor:
    """Compute the Euclidean norm over all axes but the leading ones."""
    if activation.device.type != "cpu":
        # Looking at values would wait for the device. float32 can represent the squares of float16; other types need
        # float64.
        return _norm_in(torch.float32 if activation.dtype == torch.float16 else torch.float64, activation, leading)
    if activation.numel() <= FEW_VALUES:  # three passes take less time than one call of vector_norm
        return activation.double().square().sum(_axes(activation, leading)).sqrt_()
    norms = _norm_in(torch.promote_types(activation.dtype, torch.float32), activation, leading)
    low, high = torch.aminmax(norms)
    safe = SAFE_NORM[0] < low.item() and high.item() < SAFE_NORM[1]
    return norms if safe else _norm_in(torch.float64, activation, leading)


def _norm_in(dtype: torch.dtype, activation: Tensor, leading: int) -> Tensor:
    if activation.stride(-1) == 1 or activation.device.type != "cpu":
        return torch.linalg.vector_norm(activation, dim=_axes(activation, leading), dtype=dtype)
    return activation.to(dtype).square().sum(_axes(activation, leading)).sqrt_()  # ten times faster on a CPU


def _axes(activation: Tensor, leading: int) -> tuple[int, ...]:
    return tuple(range(leading, activation.dim()))  # flattening instead would copy a channels-last tensor


def _values(activation: Tensor, leading: int) -> int:
    return max(math.prod(activation.shape[leading:]), 1)
