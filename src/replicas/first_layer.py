"""The first dense layer of many replicas with different batches, which are gathered one at a time.

Thirty batches of a thousand images take a hundred megabytes, which the layer reads in the forward and in the backward
pass: this takes more time than all other layers of a narrow net. A single batch stays in the CPU's cache.
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
    """The dense layer `name` of a net, which reads the net's flattened inputs; nothing else reads them. See `of`."""

    def __init__(self, name: str, samples: Samples) -> None:
        self.name = name
        self._inputs = samples.inputs.flatten(1)
        self._dummy = samples.inputs[:1]

    @classmethod
    def of(cls, net: nn.Module, samples: Samples) -> "FirstLayer | None":
        """The first layer of a net whose output does not depend on its inputs, given that layer's output; or None.

        The layer is exactly torch's `nn.Linear`, with trained parameters only, since frozen ones are not in the stack.
        """
        inputs, net, generator = samples.inputs[:2], copy.deepcopy(net), torch.Generator().manual_seed(0)
        # NaN passes through whatever reads it, a branch that a weight has not opened yet among them.
        dummies = torch.zeros_like(inputs), 1 + inputs, torch.full_like(inputs, math.nan)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(0.0, 0.1, generator=generator)  # none of the zeros of an initialization
            for name, module in net.named_modules():
                if type(module) is not nn.Linear or module.in_features != inputs[0].numel():
                    continue
                first, output = cls(name, samples), module(inputs.flatten(1))
                trained = all(parameter.requires_grad for parameter in module.parameters())
                if trained and all(torch.equal(first.run(net, output, dummy), net(inputs)) for dummy in dummies):
                    return first
        return None

    def run(self, net: nn.Module, outputs: Tensor, inputs: Tensor) -> Tensor:
        """The output of a net for the layer's outputs, and inputs that nothing reads."""
        with self.giving(net, outputs):
            return net(inputs)

    def outputs(self, index: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        """Outputs (R, B, units out) for the batches `index`, (R, B); weights (R, units out, units in)."""
        outputs = _Gathered.apply(self._inputs, index, weights, biases)
        assert isinstance(outputs, Tensor)
        return outputs.transpose(1, 2)

    def dummy(self, samples: int) -> Tensor:
        """A batch of inputs that nothing reads."""
        return self._dummy.expand(samples, *self._dummy.shape[1:])

    @cached_property
    def norms(self) -> Tensor:
        """‖x‖ of all inputs, in float64, as a forward pass would measure them."""
        return torch.cat([activation_norms(part)[0].double() for part in self._inputs.split(1024)])

    @contextmanager
    def giving(self, net: nn.Module, outputs: Tensor) -> Iterator[None]:
        """Replaces the outputs of the net's layer within the block."""
        layer = vars(net.get_submodule(self.name))
        layer["forward"] = lambda *_: outputs
        try:
            yield
        finally:
            del layer["forward"]


class _Gathered(torch.autograd.Function):
    """Gather each replica's batch and apply its layer: (R, units out, B), the order in which the next layer reads."""

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
