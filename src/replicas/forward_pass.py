"""The forward pass of many replicas of a module at once by `torch.func.vmap`, with measurement of lengths."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.func import vmap
from torch.nn.functional import cross_entropy

from start_training.lengths.activation_length import activation_norms
from start_training.lengths.capture import Capture
from start_training.lengths.layer_choice import LayerChoice, Layers
from start_training.lengths.survey import pool_norms
from start_training.replicas.first_layer import FirstLayer
from start_training.replicas.stack import Stack, StackRows
from start_training.replicas.transposed_linear import TransposedLinear

# Number of values in an activation of all replicas up to which calling `_Norms` costs more than it saves.
FEW_VALUES = 2**17

State: TypeAlias = dict[str, Tensor]


class ForwardResult(NamedTuple):
    """The result of one forward pass of k replicas, nets of equal shapes that are computed together.

    Attributes:
        losses: The loss of each replica, shape (k,).
        norms: For each layer whose lengths are recorded, ‖act‖ of every sample, shape (k, samples).
    """

    losses: Tensor
    norms: tuple[Tensor, ...]


class StackedLengths:
    """Measures the norms ‖act‖ of layers in forward passes of several replicas.

    Args:
        net: The net whose forward pass is vectorized.
        layers: The layers to measure.

    Attributes:
        replicas: The number of replicas in the next passes.
        names: The names of the layers measured in the last pass.
        values: The number of values per sample in each of these layers.
        sampled: Whether each of these layers has samples of its own.
    """

    def __init__(self, net: nn.Module, layers: Layers | LayerChoice) -> None:
        self.replicas = 1
        self.names: tuple[str, ...] = ()
        self.values: list[int] = []
        self.sampled: list[bool] = []
        self._capture = Capture(net, layers, measure=self._measure, pool=pool_norms)

    def start(self, samples: int) -> None:
        """Start measuring, before a forward pass of a batch with this number of samples."""
        self._capture.samples.size = samples
        self._capture.start()

    def stop(self) -> tuple[Tensor, ...]:
        """Stop measuring after a forward pass; return ‖act‖ of every sample for each measured layer."""
        readings = self._capture.stop()
        self.names = tuple(reading.name for reading in readings)
        self.values = [reading.lengths[1] for reading in readings]
        self.sampled = [reading.sampled for reading in readings]
        return tuple(reading.lengths[0] for reading in readings)

    def reads_inputs(self, net: nn.Module, first: FirstLayer) -> bool:
        """Return whether the first measured length is that of the net's inputs.

        It then has to be computed separately in a forward pass that starts from the outputs of `first`.
        """
        layer = net.get_submodule(first.name)
        assert isinstance(layer, nn.Linear)
        norms, outputs = [], first.dummy(2).new_zeros(2, layer.out_features)
        for dummy in (torch.zeros_like(first.dummy(2)), torch.ones_like(first.dummy(2))):
            self.start(len(dummy))
            with torch.no_grad():
                first.run(net, outputs, dummy)
            norms.append(self.stop()[0])
        return not torch.equal(*norms)

    def _measure(self, activation: Tensor) -> tuple[Tensor, int]:
        activation = activation.detach()
        if activation.numel() * self.replicas <= FEW_VALUES:
            return activation_norms(activation, data_dependent=False)
        stacked_norms = _Norms.apply(activation)
        assert isinstance(stacked_norms, Tensor)
        return stacked_norms, max(activation.numel() // max(activation.shape[0], 1), 1)


class _Norms(torch.autograd.Function):
    """Compute ‖act‖ of each sample; under `vmap`, of all replicas in one operation on the stacked activation.

    It runs within the forward hook, since a later in-place operation may overwrite the activation.
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
) -> ForwardResult:
    """Compute the mean cross-entropy of k replicas, each on its own batch or all on the same batch.

    Args:
        rows: The state of the k replicas.
        inputs: Shape (k, samples, …), or (samples, …) if `shared`.
        targets: Shape (k, samples), or (samples,) if `shared`.
        shared: Whether all replicas have the same batch.
        lengths: Measures activation lengths in this pass, if given.
    """

    def forward(state: State, scalars: list[Tensor], inputs: Tensor, targets: Tensor) -> ForwardResult:
        with stack.substitute(state, scalars) as net:
            return _loss(net, inputs, targets, lengths)

    batch = None if shared else 0
    return _vectorized(forward, rows, (batch, batch), inputs, targets)


def losses_from_first_layer(
    stack: Stack,
    rows: StackRows,
    first: FirstLayer,
    index: Tensor,
    targets: Tensor,
    *,
    lengths: StackedLengths | None = None,
) -> ForwardResult:
    """Compute the losses as `losses_of`, for batches that are given by indices and gathered by the first layer.

    Args:
        rows: The state of the k replicas.
        first: The first layer, found by `FirstLayer.find`.
        index: Indices of the samples in each batch, shape (k, samples).
        targets: Shape (k, samples).
        lengths: Measures activation lengths in this pass, if given.
    """
    bias = rows.parameters.get(f"{first.name}.bias")
    outputs = first.outputs(index, rows.parameters[f"{first.name}.weight"], bias)

    def forward(state: State, scalars: list[Tensor], inputs: Tensor, outputs: Tensor, targets: Tensor) -> ForwardResult:
        with stack.substitute(state, scalars) as net, first.replace_outputs(net, outputs):
            return _loss(net, inputs, targets, lengths)

    return _vectorized(forward, rows, (None, 0, 0), first.dummy(index.shape[1]), outputs, targets)


def _loss(net: nn.Module, inputs: Tensor, targets: Tensor, lengths: StackedLengths | None) -> ForwardResult:
    if lengths is not None:
        lengths.start(len(targets))
    logits = net(inputs)
    return ForwardResult(cross_entropy(logits, targets), lengths.stop() if lengths is not None else ())


def logits_of(stack: Stack, rows: StackRows, inputs: Tensor) -> Tensor:
    """Compute logits (k, samples, classes) of k replicas for the same inputs (samples, …)."""

    def forward(state: State, scalars: list[Tensor], inputs: Tensor) -> Tensor:
        with stack.substitute(state, scalars) as net:
            return net(inputs)

    return _vectorized(forward, rows, (None,), inputs)


def _vectorized(function: Callable[..., Any], rows: StackRows, batch: tuple[int | None, ...], *tensors: Tensor) -> Any:
    state = rows.parameters | rows.rest
    if len(next(iter(rows.parameters.values()))) > 1:
        with TransposedLinear():
            return vmap(function, in_dims=(0, 0, *batch))(state, rows.scalars, *tensors)
    # Without `vmap` for a single replica, since it slows down every operation. `squeeze`, since `[0]` copies gradients.
    single = [tensor if dim is None else tensor.squeeze(0) for tensor, dim in zip(tensors, batch, strict=True)]
    state = {name: tensor.squeeze(0) for name, tensor in state.items()}
    output = function(state, [scalar.squeeze(0) for scalar in rows.scalars], *single)
    if isinstance(output, Tensor):
        return output.unsqueeze(0)
    return ForwardResult(output.losses.unsqueeze(0), tuple(norms.unsqueeze(0) for norms in output.norms))
