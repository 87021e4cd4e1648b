"""Apply the first dense layer of many replicas to different batches, gathering one batch at a time.

Thirty batches of a thousand images take a hundred megabytes. Reading them in the forward and the backward pass takes
more time than all other layers of a narrow net, while a single batch fits into the CPU's cache.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from start_training.datamodules.samples import Samples
from start_training.lengths.activation_length import activation_norms


class FirstLayer:
    """The dense layer of a net that alone reads the net's (flattened) inputs; `find` looks it up.

    Args:
        name: The name of the layer in `net.named_modules()`.
        samples: The training set.
    """

    def __init__(self, name: str, samples: Samples) -> None:
        self.name = name
        self._inputs = samples.inputs.flatten(1)
        self._dummy = samples.inputs[:1]

    @classmethod
    def find(cls, net: nn.Module, samples: Samples) -> "FirstLayer | None":
        """Find the layer of a net such that the net's output depends on the inputs only through this layer.

        The layer has to be an `nn.Linear` (no subclass) whose parameters are all trained, since the stack's parameters
        do not contain frozen ones.

        Returns:
            The layer, or None if the net has no such layer.
        """
        inputs, net, generator = samples.inputs[:2], copy.deepcopy(net), torch.Generator().manual_seed(0)
        # NaN propagates through every operation that reads it, even if the result is multiplied by a weight of zero.
        dummies = torch.zeros_like(inputs), 1 + inputs, torch.full_like(inputs, math.nan)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(0.0, 0.1, generator=generator)  # an initialization may have zeros
            for name, module in net.named_modules():
                if type(module) is not nn.Linear or module.in_features != inputs[0].numel():
                    continue
                first, output = cls(name, samples), module(inputs.flatten(1))
                trained = all(parameter.requires_grad for parameter in module.parameters())
                if trained and all(torch.equal(first.run(net, output, dummy), net(inputs)) for dummy in dummies):
                    return first
        return None

    def run(self, net: nn.Module, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Run a net with given outputs of this layer, and inputs of which only the shape matters."""
        with self.replace_outputs(net, outputs):
            return net(inputs)

    def outputs(self, index: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        """Compute the layer's outputs for a different batch of each replica.

        Args:
            index: Indices of the samples in each batch, shape (R, B).
            weights: Shape (R, units out, units in).
            biases: Shape (R, units out), or None.
        Returns:
            Shape (R, B, units out).
        """
        outputs = _Gathered.apply(self._inputs, index, weights, biases)
        assert isinstance(outputs, Tensor)
        return outputs.transpose(1, 2)

    def dummy(self, samples: int) -> Tensor:
        """Return a batch of inputs that has the right shape and need not be read."""
        return self._dummy.expand(samples, *self._dummy.shape[1:])

    @cached_property
    def norms(self) -> Tensor:
        """Norms ‖x‖ of all inputs in float64, shape (samples,), equal to those measured in a forward pass."""
        return torch.cat([activation_norms(part)[0].double() for part in self._inputs.split(1024)])

    @contextmanager
    def replace_outputs(self, net: nn.Module, outputs: Tensor) -> Iterator[None]:
        """Replace the output of this layer in `net` by `outputs` within the block."""
        layer = vars(net.get_submodule(self.name))
        layer["forward"] = lambda *_: outputs
        try:
            yield
        finally:
            del layer["forward"]


class _Gathered(torch.autograd.Function):
    """Gather each replica's batch and apply its layer; returns (R, units out, B), as the next layer reads it."""

    @staticmethod
    def forward(inputs: Tensor, index: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        outputs = inputs.new_empty(len(index), weights.shape[1], index.shape[1])
        batch = inputs.new_empty(index.shape[1], inputs.shape[1])
        for row, rows in enumerate(index):
            torch.index_select(inputs, 0, rows, out=batch)
            if biases is None:
                torch.mm(weights[row], batch.T, out=outputs[row])
            else:
                torch.addmm(biases[row].unsqueeze(1), weights[row], batch.T, out=outputs[row])
        return outputs

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, index, weights = ctx.saved_tensors
        of_weights = torch.empty_like(weights)
        batch = inputs.new_empty(index.shape[1], inputs.shape[1])
        for row, rows in enumerate(index):
            torch.index_select(inputs, 0, rows, out=batch)
            torch.mm(gradient[row], batch, out=of_weights[row])
        return None, None, of_weights, gradient.sum(2) if ctx.needs_input_grad[3] else None
