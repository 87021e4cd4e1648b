"""Compute dense layers of many replicas with transposed memory layout of the activations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class TransposedLinear(TorchFunctionMode):
    """Context manager that computes dense layers as (W xᵀ + b)ᵀ instead of x Wᵀ + b.

    The values are the same, but samples are contiguous in memory. On a CPU this halves the time of products of many
    small matrices. On a GPU, gradients have the memory layout of the weights and are not copied.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        if function is linear and not named and len(arguments) == 3 and arguments[0].dim() == 2:
            return _linear(*arguments)
        return function(*arguments, **(named or {}))


def _linear(inputs: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
    outputs = torch.mm(weights, inputs.T)  # not addmm, which under vmap runs separate kernels for its alpha and beta
    return (outputs if biases is None else outputs.add_(biases.unsqueeze(1))).T
