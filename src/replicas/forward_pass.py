"""The forward pass of many replicas of any module at once, by `torch.func.vmap`, and its lengths."""

import copy
import pickle
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.func import vmap
from torch.nn.functional import cross_entropy

from start_training.lengths.activation_length import activation_norms
from start_training.lengths.capture import Capture
from start_training.replicas.first_layer import FirstLayer
from start_training.replicas.scalars import varying_scalars
from start_training.replicas.stack import Stack, StackRows
from start_training.replicas.transposed_linear import TransposedLinear
from start_training.settings import one_line
from start_training.streams import isolate_random_streams

# Values of an activation of all replicas: for fewer, `_Norms` takes longer to start than their conversion to float64.
FEW_VALUES = 2**17

State: TypeAlias = dict[str, Tensor]


class Passed(NamedTuple):
    """Losses (k,) of k replicas, and for each measured layer ‖act‖ of every sample, (k, samples)."""

    losses: Tensor
    norms: tuple[Tensor, ...]


class NotVectorized(ValueError):
    """A net has an operation that torch cannot do for many nets at once."""


class StackedLengths:
    """Measures ‖act‖ in passes of several replicas.

    Attributes:
        replicas: The number of replicas in the passes to come.
        names: The layers measured in the last pass.
        values: The number of values that a sample has in each of them.
    """

    def __init__(self, net: nn.Module, patterns: Sequence[str] | None) -> None:
        self.replicas = 1
        self.names: tuple[str, ...] = ()
        self.values: list[int] = []
        self._capture = Capture(net, patterns, measure=self._measure)

    def start(self) -> None:
        """Begin a forward pass."""
        self.values = []
        self._capture.start()

    def stop(self) -> tuple[Tensor, ...]:
        """End the forward pass; returns ‖act‖ of every sample for each layer."""
        readings = self._capture.stop()
        self.names = tuple(reading.name for reading in readings)
        return tuple(reading.lengths for reading in readings)

    def reads_inputs(self, net: nn.Module, first: FirstLayer) -> bool:
        """Whether layer 0, as measured, is the net's input, which a pass from the first layer's outputs lacks."""
        layer = net.get_submodule(first.name)
        assert isinstance(layer, nn.Linear)
        norms, outputs = [], first.dummy(2).new_zeros(2, layer.out_features)
        for dummy in (torch.zeros_like(first.dummy(2)), torch.ones_like(first.dummy(2))):
            self.start()
            with torch.no_grad():
                first.run(net, outputs, dummy)
            norms.append(self.stop()[0])
        return not torch.equal(*norms)

    def _measure(self, activation: Tensor) -> Tensor:
        activation = activation.detach()
        if activation.numel() * self.replicas <= FEW_VALUES:
            norms, values = activation_norms(activation, data_dependent=False)
            self.values.append(values)
            return norms
        norms_of_all = _Norms.apply(activation)
        assert isinstance(norms_of_all, Tensor)
        self.values.append(max(activation.numel() // max(activation.shape[0], 1), 1))
        return norms_of_all


class _Norms(torch.autograd.Function):
    """‖act‖ of each sample; under `vmap` it gets the activations of all replicas, whose values it may inspect.

    It runs in the hook rather than after the pass, since a layer that works in place may overwrite the activation.
    """

    @staticmethod
    def forward(activation: Tensor) -> Tensor:
        return activation_norms(activation)[0]

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], activation: Tensor) -> tuple[Tensor, int]:
        return activation_norms(activation.movedim(in_dims[0], 0), leading=2)[0], 0


def losses_of(
    stack: Stack,
    rows: StackRows,
    inputs: Tensor,
    targets: Tensor,
    *,
    shared: bool,
    lengths: StackedLengths | None = None,
) -> Passed:
    """Each replica's mean cross-entropy on its batch (k, samples, …), or on a `shared` one (samples, …).

    Args:
        lengths: Measures the lengths, if given.
    """

    def forward(state: State, scalars: list[Tensor], inputs: Tensor, targets: Tensor) -> Passed:
        with stack.holding(state, scalars) as net:
            return _loss(net, inputs, targets, lengths)

    batch = None if shared else 0
    return _vectorized(forward, rows, (batch, batch), inputs, targets)


def losses_given(
    stack: Stack,
    rows: StackRows,
    first: FirstLayer,
    index: Tensor,
    targets: Tensor,
    *,
    lengths: StackedLengths | None = None,
) -> Passed:
    """`losses_of` the batches of samples `index`, (k, samples), whose inputs only `first` reads."""
    bias = rows.parameters.get(f"{first.name}.bias")
    outputs = first.outputs(index, rows.parameters[f"{first.name}.weight"], bias)

    def forward(state: State, scalars: list[Tensor], inputs: Tensor, outputs: Tensor, targets: Tensor) -> Passed:
        with stack.holding(state, scalars) as net, first.giving(net, outputs):
            return _loss(net, inputs, targets, lengths)

    return _vectorized(forward, rows, (None, 0, 0), first.dummy(index.shape[1]), outputs, targets)


def _loss(net: nn.Module, inputs: Tensor, targets: Tensor, lengths: StackedLengths | None) -> Passed:
    if lengths is not None:
        lengths.start()
    logits = net(inputs)
    return Passed(cross_entropy(logits, targets), lengths.stop() if lengths is not None else ())


def logits_of(stack: Stack, rows: StackRows, inputs: Tensor) -> Tensor:
    """Logits (k, samples, classes) for inputs that all replicas share."""

    def forward(state: State, scalars: list[Tensor], inputs: Tensor) -> Tensor:
        with stack.holding(state, scalars) as net:
            return net(inputs)

    return _vectorized(forward, rows, (None,), inputs)


def _vectorized(function: Callable[..., Any], rows: StackRows, batch: tuple[int | None, ...], *tensors: Tensor) -> Any:
    state = rows.parameters | rows.rest
    if len(next(iter(rows.parameters.values()))) > 1:
        with TransposedLinear():
            return vmap(function, in_dims=(0, 0, *batch))(state, rows.scalars, *tensors)
    # For one replica `vmap` would cost time in every operation. `squeeze`, since the gradient of `[0]` makes a copy.
    alone = [tensor if of is None else tensor.squeeze(0) for tensor, of in zip(tensors, batch, strict=True)]
    state = {name: each.squeeze(0) for name, each in state.items()}
    output = function(state, [each.squeeze(0) for each in rows.scalars], *alone)
    if isinstance(output, Tensor):
        return output.unsqueeze(0)
    return Passed(output.losses.unsqueeze(0), tuple(norms.unsqueeze(0) for norms in output.norms))


def check_vectorized(net: nn.Module, input_shape: Sequence[int], *, other: nn.Module | None = None) -> None:
    """Check that a net can be trained as a replica.

    Args:
        other: A net of the same group, with other scales; by default the same net.
    Raises:
        NotVectorized: torch cannot vectorize an operation of the forward pass, which the message names.
        ValueError: the nets cannot be stacked, a parameter has no gradient, a pass changes something else than
            buffers, or the outputs of the nets in a stack differ from those on their own.
    """
    pair = [net, net if other is None else other]
    stack, before = Stack([copy.deepcopy(each) for each in pair]), copy.deepcopy(net)
    rows = stack.rows(slice(0, 2))
    parameter, generator = stack.parameters, torch.Generator().manual_seed(0)
    inputs = torch.randn(8, *input_shape, generator=generator).to(parameter)
    targets = torch.zeros(2, 8, dtype=torch.int64, device=parameter.device)
    name = f"model = {type(net).__name__}"
    alone = torch.stack([_logits_alone(each, inputs) for each in pair])
    if changed := varying_scalars([before, net]):
        place = next(iter(changed))
        raise ValueError(f"{name}: its forward pass changes {place.attribute}, of which each net would need its own")
    try:
        losses = losses_of(stack, rows, torch.stack([inputs] * 2), targets, shared=False).losses
        with torch.no_grad():
            company = logits_of(stack, rows, inputs)
    except RuntimeError as error:
        advice = "hydra/launcher=basic trains its runs one at a time"
        raise NotVectorized(f"{name}: cannot be vectorized over replicas ({_operation(error)}); {advice}") from error
    largest = float(alone.nan_to_num(0, 0, 0).abs().max())
    if not torch.allclose(company, alone, rtol=1e-3, atol=1e-3 * largest, equal_nan=True):
        raise ValueError(f"{name}: two of its nets give something else together than each by itself")
    gradients = torch.autograd.grad(losses.sum(), list(rows.parameters.values()), allow_unused=True)
    for (parameter_name, _), gradient in zip(rows.parameters.items(), gradients, strict=True):
        if gradient is None:
            raise ValueError(f"{name}: its parameter {parameter_name} has no part in the loss")


def _logits_alone(net: nn.Module, inputs: Tensor) -> Tensor:
    """Logits of the net itself, since hooks may refer to it; its buffers are restored."""
    buffers = {name: each.clone() for name, each in net.named_buffers()}
    with torch.no_grad():
        logits: Tensor = net(inputs)
        for name, each in buffers.items():
            net.get_buffer(name).copy_(each)
    return logits


def draws_random_numbers(net: nn.Module, input_shape: Sequence[int]) -> bool:
    """Whether the net's forward pass in training draws random numbers (dropout), which differ from run to run."""
    net = copy.deepcopy(net).train()
    first = next(net.parameters())
    with isolate_random_streams(), torch.no_grad():
        before = _streams()
        net(torch.zeros(2, *input_shape, dtype=first.dtype, device=first.device))
        return _streams() != before


def _streams() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()))


def _operation(error: RuntimeError) -> str:
    """torch's message on an operation that it cannot vectorize, in one line."""
    text = one_line(error)
    named = re.search(r"aten::\w+(\.\w+)?|\.item\(\)|\.\w+\(\)", text)
    sentence = text.split(". ")[0]
    return sentence if named is None or named[0] in sentence else f"{named[0]}: {sentence}"
