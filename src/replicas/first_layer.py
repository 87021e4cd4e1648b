"""The first dense layer of many replicas, each on its own batch, without the batches of all in memory at once.

To gather thirty batches of a thousand images takes a hundred megabytes, which the layer reads again forward and
backward: more time than all that follows in a narrow net. One replica after the other, a batch stays in the cache.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from start_training.datamodules.samples import Samples
from start_training.lengths.activation_length import activation_norms


class Measuring(Protocol):
    """What reads lengths in a forward pass: norms, layer by layer."""

    def start(self) -> None:
        """Begin one."""

    def stop(self) -> tuple[Tensor, ...]:
        """End it."""


class FirstLayer:
    """The dense layer `name` of a net, which alone reads the net's inputs, flattened; found by `of`."""

    def __init__(self, name: str, samples: Samples) -> None:
        self.name = name
        self._inputs = samples.inputs.flatten(1)
        self._norms = _norms(self._inputs)
        self._dummy = samples.inputs[:1]

    @classmethod
    def of(cls, net: nn.Module, samples: Samples) -> "FirstLayer | None":
        """Where there is one: with what it gives in place of the layer, nothing of the net sees the inputs."""
        inputs, net = samples.inputs[:2], _with_other_weights(net)
        # NaN passes through whatever reads it, a branch that a weight has not opened yet among them.
        dummies = torch.zeros_like(inputs), 1 + inputs, torch.full_like(inputs, math.nan)
        with torch.no_grad():
            for name, module in net.named_modules():
                if _is_trained_dense_layer(module) and module.in_features == inputs[0].numel():
                    given = module(inputs.flatten(1))
                    if all(torch.equal(_run(net, module, given, dummy), net(inputs)) for dummy in dummies):
                        return cls(name, samples)
        return None

    def reads_inputs(self, net: nn.Module, lengths: Measuring) -> bool:
        """Whether layer 0, as measured, is the inputs themselves, of which a pass in their place knows nothing."""
        norms = []
        layer = net.get_submodule(self.name)
        assert isinstance(layer, nn.Linear)
        given = self._inputs.new_zeros(2, layer.out_features)
        for dummy in (torch.zeros_like(self.dummy(2)), torch.ones_like(self.dummy(2))):
            lengths.start()
            with torch.no_grad(), self.giving(net, given):
                net(dummy)
            norms.append(lengths.stop()[0])
        return not torch.equal(*norms)

    def outputs(self, index: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        """(R, B, units out) of the batches `index`, (R, B); weights (R, units out, units in)."""
        outputs = _Gathered.apply(self._inputs, index, weights, biases)
        assert isinstance(outputs, Tensor)
        return outputs.transpose(1, 2)

    def dummy(self, samples: int) -> Tensor:
        """Something of the shape of a batch of inputs."""
        return self._dummy.expand(samples, *self._dummy.shape[1:])

    def norms(self, index: Tensor) -> Tensor:
        """‖x‖ of the inputs of the batches, (R, B)."""
        return self._norms[index]

    @contextmanager
    def giving(self, net: nn.Module, outputs: Tensor) -> Iterator[None]:
        """Within, the net's layer gives these."""
        with _giving(net.get_submodule(self.name), outputs):
            yield


class _Gathered(torch.autograd.Function):
    """(R, units out, B): unit by unit, as the next layer reads it."""

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


def _is_trained_dense_layer(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Exactly torch's, all of whose parameters are trained: of a frozen one a replica's own would not be known."""
    return type(module) is nn.Linear and all(each.requires_grad for each in module.parameters())


def _norms(inputs: Tensor) -> Tensor:
    """As a forward pass would measure them, in float64."""
    return torch.cat([activation_norms(part)[0].double() for part in inputs.split(1024)])


def _with_other_weights(net: nn.Module) -> nn.Module:
    """A copy with none of the zeros that an initialization may begin with."""
    net, generator = copy.deepcopy(net), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0.0, 0.1, generator=generator)
    return net


def _run(net: nn.Module, module: nn.Module, given: Tensor, inputs: Tensor) -> Tensor:
    with _giving(module, given):
        return net(inputs)


@contextmanager
def _giving(module: nn.Module, outputs: Tensor) -> Iterator[None]:
    vars(module)["forward"] = lambda *_: outputs
    try:
        yield
    finally:
        del vars(module)["forward"]
