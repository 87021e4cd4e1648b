"""Compare what a layer computes with, after it was initialized, with what was drawn."""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.conv import _ConvNd

from start_training.initializers.drawing import FillTensor, name_of
from start_training.initializers.initialization import DrawnWeight
from start_training.initializers.initializer import Initializer
from start_training.initializers.weight_matrix import Weight
from start_training.settings import described
from start_training.streams import isolate_random_streams

ROUNDING = 16  # units of rounding, relative to the largest value, within which values are equal
PROBES = 16  # inputs of a layer whose class has a forward pass of its own
_BASES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def drawn_weight(weight: Weight, computed: Tensor, values: Tensor, fill: FillTensor) -> DrawnWeight:
    """Return what was drawn for a weight, and with which kappa the layer computes.

    Args:
        weight: The weight, or a part of it.
        computed: The whole weight with which the layer computes.
        values: The values that were drawn for it.
        fill: The initializer.
    """
    matrices = weight.layout.matrices(computed)
    wide = matrices.float() if torch.finfo(matrices.dtype).bits <= 16 else matrices
    kappa = weight.fans.fan_in * float(wide.var(correction=0))
    as_asked, note = True, weight.note
    if computed is not values and not _same(computed, values):
        as_asked, note = False, f"computed by {weight.computed_by}"
    elif (own := own_forward(weight.module)) is not None:
        as_asked, ratio, note = own
        kappa *= ratio
    asked = fill.kappa(weight.fans) if isinstance(fill, Initializer) else None
    return DrawnWeight(weight.name, kappa, name_of(fill), asked, as_asked, matrices.numel(), note)


def own_forward(module: nn.Module) -> tuple[bool, float, str] | None:
    """Compare the forward pass of a subclass of torch's layers with that of torch's layer, on random inputs.

    Returns:
        Whether both give the same, the ratio of their mean squared outputs, and a note. None if the class has no
        forward pass of its own.
    """
    base: Any = next((base for base in _BASES if isinstance(module, base)), None)
    if base is None or type(module).forward is base.forward:
        return None
    kind = type(module).__name__
    modes = [(part, part.training) for part in module.modules()]
    with torch.no_grad(), isolate_random_streams():
        try:
            for part, _ in modes:
                part.training = False
            inputs = _probe(module)
            plain, own = base.forward(module, inputs.clone()), module.forward(inputs)
            if own.shape != plain.shape:
                raise ValueError(f"outputs of shape {tuple(own.shape)}")
        except Exception as error:  # whatever the forward pass of a user's class raises
            return True, 1.0, f"the forward pass of {kind} could not be compared ({described(error)})"
        finally:
            for part, mode in modes:
                part.training = mode
    if _same(own, plain):
        return True, 1.0, ""
    ratio = float(own.double().square().mean() / plain.double().square().mean().clamp(min=1e-300))
    return False, ratio, f"the forward pass of {kind} multiplies squared outputs by {ratio:.3g}"


def _probe(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    weight, generator = module.weight, Generator().manual_seed(0)
    shape = [PROBES, int(getattr(module, "in_features", getattr(module, "in_channels", 1)))]
    if isinstance(module, _ConvNd):
        sizes = zip(module.dilation, module.kernel_size, strict=True)
        shape = [2, shape[1], *(rate * (length - 1) + 8 for rate, length in sizes)]
    return torch.randn(shape, generator=generator).to(weight.device, weight.dtype)


def _same(values: Tensor, others: Tensor) -> bool:
    largest = float(others.abs().max()) if others.numel() else 0.0
    return torch.allclose(values, others, rtol=0, atol=ROUNDING * torch.finfo(others.dtype).eps * largest)
