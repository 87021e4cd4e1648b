"""Scaling of pixels to the inputs of a net."""

from collections.abc import Callable

import torch
from torch import Tensor

SCALINGS = ("standardize", "unit")


def unit(pixels: Tensor) -> Tensor:
    """Convert uint8 pixels to float32 in [0, 1], and floating-point inputs to float32 without scaling."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def scaler(scaling: str, train_pixels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that scales pixels to the inputs of a net.

    Args:
        scaling: `standardize` to give each channel mean 0 and variance 1 on the training set, or `unit` to scale
            pixels to [0, 1].
        train_pixels: Pixels of the training set, shape (B, C, …).

    Example:
        >>> scaler("standardize", torch.tensor([[0.0], [2.0]]))(torch.tensor([[4.0]]))
        tensor([[3.]])
    """
    if scaling == "unit":
        return unit
    # One channel at a time, because a float64 copy of all channels of CIFAR-10 would take 1.2 GB.
    moments = [torch.var_mean(channel.double(), correction=0) for channel in unit(train_pixels).unbind(1)]
    variance, mean = (torch.stack(values) for values in zip(*moments, strict=True))
    shape = (-1,) + (1,) * (train_pixels.ndim - 2)
    mean, deviation = mean.float().reshape(shape), variance.sqrt().float().reshape(shape)
    rounding = 4 * torch.finfo(torch.float32).eps * mean.abs()
    deviation[deviation <= rounding] = 1  # a constant channel becomes 0, not NaN or amplified rounding errors
    return lambda pixels: (unit(pixels) - mean).div_(deviation)
