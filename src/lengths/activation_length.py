"""The activation length of each sample in a batch."""

import torch
from torch import Tensor

# Where a float32 norm has neither overflowed nor lost digits to subnormal squares.
SAFE_NORM = (1e-16, 1e18)


def activation_lengths(activation: Tensor, *, look: bool = True) -> Tensor:
    """M = ‖act‖² / n of each sample of (samples, …) with n values a sample; shape (samples,), float64.

    Right wherever the activation itself is finite in float32, although its square may not be.
    Reads the activation once in the common case, copies nothing of its size there, and never waits
    for a device. look=False chooses how to reduce without looking at values, as `vmap` requires.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719), definition of the length.
    """
    activation = activation.detach()
    samples = activation.shape[0]
    values = max(activation.numel() // max(samples, 1), 1)
    if activation.dim() == 1:
        activation = activation.reshape(samples, 1)
    if torch.is_autocast_enabled(activation.device.type):  # asked first: to enter the context takes microseconds
        with torch.autocast(activation.device.type, enabled=False):
            return _norm(activation, look).square().div(values)
    return _norm(activation, look).square().div(values)


def _norm(activation: Tensor, look: bool) -> Tensor:
    """The Euclidean norm over all axes but the first, in float64."""
    if torch.compiler.is_compiling() or not look:  # a compiler fuses the conversion into its one pass
        return activation.double().square().sum(_axes(activation)).sqrt()
    if activation.device.type != "cpu":
        # Choosing by value would wait for the device, so take what is always right: float32 for half
        # precision, whose squares it holds, float64 for the rest.
        wide = torch.float32 if activation.dtype == torch.float16 else torch.float64
        return torch.linalg.vector_norm(activation, dim=_axes(activation), dtype=wide).double()
    norm = torch.linalg.vector_norm(activation, dim=_axes(activation), dtype=_at_least_float32(activation))
    if norm.numel() and not _is_safe(norm):
        norm = torch.linalg.vector_norm(activation, dim=_axes(activation), dtype=torch.float64)
    return norm.double()


def _axes(activation: Tensor) -> tuple[int, ...]:
    return tuple(range(1, activation.dim()))  # all at once: flattening a channels-last tensor would copy it


def _at_least_float32(activation: Tensor) -> torch.dtype:
    return torch.promote_types(activation.dtype, torch.float32)


def _is_safe(norm: Tensor) -> bool:
    low, high = torch.aminmax(norm)
    return SAFE_NORM[0] < low.item() and high.item() < SAFE_NORM[1]
