"""Dense layers of many replicas whose activations lie in memory unit by unit, rather than sample by sample."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class TransposedLinear(TorchFunctionMode):
    """Within, a dense layer is (W xᵀ + b)ᵀ instead of x Wᵀ + b: the same numbers, in another order in memory.

    On a CPU, products of many small matrices take half the time when their long side, the samples, is contiguous; on a
    GPU, gradients of weights come out as the weights lie, and are not copied.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        if function is linear and not named and len(arguments) == 3 and arguments[0].dim() == 2:
            return _linear(*arguments)
        return function(*arguments, **(named or {}))


def _linear(inputs: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
    outputs = torch.mm(weights, inputs.T)  # under vmap addmm multiplies by its alpha and beta, in kernels of their own
    return (outputs if biases is None else outputs.add_(biases.unsqueeze(1))).T
