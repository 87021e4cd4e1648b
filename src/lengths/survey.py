"""Measure all layers that a net may have in its first passes, and choose those to measure from then on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.lengths.activation_length import activation_norms
from start_training.lengths.call import Call
from start_training.lengths.capture import INPUT, Capture, LayerReading, first_tensor
from start_training.lengths.coverage import Coverage
from start_training.lengths.forward_trace import ForwardTrace, is_backward
from start_training.lengths.layer_choice import LayerChoice, Layers, choose_layers
from start_training.lengths.sample_axis import FOLDED, FOLDED_TIME_FIRST, WHOLE, SampleAxis, shapes_in

Norms = tuple[Tensor, int]


class _Unresolved(NamedTuple):
    """Norms of an activation of some shape along each axis that may be that of samples.

    Attributes:
        inputs: The inputs of the net in this pass, without data.
    """

    shape: tuple[int, ...]
    by_axis: dict[int, Norms]
    inputs: Any


class Survey(Capture):
    """A `Capture` that measures every module and every activation function, until `choose` tells which are layers.

    It measures norms, see `activation_norms`, and cannot see modules that `torch.compile` has compiled.

    Args:
        net: Any module.
        layers: As in `choose_layers`.
        sample_axis: As in `choose_layers`.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> survey = Survey(net, "auto")
        >>> survey.begin(batch := torch.ones(3, 2))
        >>> survey.start()
        >>> _ = net(batch)
        >>> readings = survey.stop()
        >>> choice = survey.choose()
        >>> [reading.name for reading in resolved(readings, choice)], str(choice.coverage)
        (['input', '1'], '1 activation; 1 of 1 weighted modules lie between measured layers')
    """

    def __init__(self, net: nn.Module, layers: Layers, *, sample_axis: int | Mapping[str, int] | None = None) -> None:
        nothing = LayerChoice({}, Coverage({}, 0, (), 0), frozenset(), SampleAxis(sample_axis))
        super().__init__(net, nothing, measure=activation_norms)
        self._trace = ForwardTrace(net, on_output=self._on_output)
        self._handles.append(self._trace)
        self._net, self._layers, self._sample_axis = net, layers, sample_axis
        self._batch: Any = None
        self._inputs: Any = None
        self._has_input = False
        self._may_be_time_first = any(getattr(module, "batch_first", None) is False for module in net.modules())

    @property
    def began(self) -> bool:
        """Whether modules have been called while it measured."""
        return bool(self._trace.calls)

    def begin(self, batch: Any) -> None:
        """Prepare to measure passes of a batch; call it when no other context has been entered."""
        self._batch, self._inputs = batch, None
        self.samples.count(batch)
        self._trace.follow(batch)
        if not self._entered:
            self._trace.__enter__()
            self._entered = True

    def start(self) -> None:
        super().start()
        self._has_input = False

    def enter(self, inputs: Any) -> None:
        super().enter(inputs)
        self._trace.follow(inputs)
        self._inputs = [torch.empty(shape, device="meta") for shape in shapes_in(inputs)]

    def end(self) -> None:
        self.active = False
        if self._entered:
            self._entered = False
            self._trace.__exit__(None, None, None)

    def numbered(self, readings: Sequence[LayerReading]) -> list[LayerReading]:
        return list(readings)

    def choose(self, *, functions: bool = True) -> LayerChoice:
        """Choose the layers, after passes of the batch.

        Args:
            functions: As in `choose_layers`.

        Raises:
            NoLayers: see `choose_layers`.
        """
        settings: dict[str, Any] = {"batch": self._batch, "sample_axis": self._sample_axis, "functions": functions}
        return choose_layers(self._net, self._layers, trace=self._trace, **settings)

    def _on_output(self, call: Call, output: Any, inputs: Any) -> None:
        if call.name and self.active:
            self._read(call.name, output)

    def _read_input(self, module: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any]) -> None:
        if not self._has_input:
            self._enter_input((inputs, by_name))
            self._read(INPUT, (inputs, by_name))

    def _read_embedding(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not self._has_input:
            self._read(INPUT, output)

    def _read(self, name: str, values: Any, inputs: Any = None) -> None:
        if not self.active or is_backward() or (activation := first_tensor(values)) is None:
            return
        axis = self.samples.find(name, activation.shape)
        if name == INPUT:
            self._has_input = axis != WHOLE
        axes = {0, axis} if isinstance(axis, int) else {0}
        if activation.dim() > 2 and (self._may_be_time_first or activation.shape[0] != self.samples.size):
            axes.add(1)
        by_axis = {axis: activation_norms(activation.movedim(axis, 0)) for axis in axes}
        self._readings.append(LayerReading(name, _Unresolved(tuple(activation.shape), by_axis, self._inputs)))


def resolved(readings: Sequence[LayerReading], choice: LayerChoice) -> list[LayerReading]:
    """Return those readings of a survey that are of the input or of a chosen layer, with norms of their samples."""
    inputs: list[LayerReading] = []
    layers: list[LayerReading] = []
    for reading in readings:
        if reading.name == INPUT or reading.name in choice.kinds:
            (inputs if reading.name == INPUT else layers).append(_resolve(reading, choice.samples))
    chosen = next((reading for reading in inputs if reading.sampled), inputs[0] if inputs else None)
    return [*([chosen] if chosen is not None else []), *layers]


def _resolve(reading: LayerReading, samples: SampleAxis) -> LayerReading:
    shape, by_axis, inputs = reading.lengths
    samples.enter(inputs)
    axis = samples.find(reading.name, shape)
    if isinstance(axis, int) and axis in by_axis:
        return reading._replace(lengths=by_axis[axis])
    norms, values = by_axis[0]
    if axis == FOLDED:
        rows = norms.double().reshape(samples.size, -1)
    elif axis == FOLDED_TIME_FIRST:
        rows = norms.double().reshape(-1, samples.size).T
    else:
        rows = norms.double().unsqueeze(0)
    return reading._replace(lengths=pool_norms([(row, values) for row in rows.T]), sampled=axis != WHOLE)


def pool_norms(norms: Sequence[Norms]) -> Norms:
    """Return norms whose lengths are the means of the lengths of several ones.

    Example:
        >>> pool_norms([(torch.tensor([1.0]), 2), (torch.tensor([7.0]), 2)])  # lengths 0.5 and 24.5
        (tensor([5.], dtype=torch.float64), 2)
    """
    stacked = torch.stack([layer.double() for layer, _ in norms])
    return stacked.square().mean(0).sqrt(), norms[0][1]
