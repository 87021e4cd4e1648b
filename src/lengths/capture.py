"""Forward hooks that measure activation lengths in any net and store nothing else."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.forward_trace import is_backward
from start_training.lengths.function_calls import FunctionCalls
from start_training.lengths.layer_choice import LayerChoice, Layers, choose_layers
from start_training.lengths.modules import inner_modules, modules_by_name

INPUT = "input"


class LayerReading(NamedTuple):
    """Lengths measured at one call of one layer.

    Args:
        name: Name of the layer, or `input` for layer 0; `:k` is appended for the k-th call in a pass, k > 1.
        lengths: What `Capture` measures: by default the length of each sample, shape (samples,), float64.
        sampled: Whether the layer has samples of its own; else it has one length, of all its values.
    """

    name: str
    lengths: Any
    sampled: bool = True


class Capture:
    """Forward hooks that measure the length of every sample in each layer of a net, between `start` and `stop`.

    Layer 0, `input`, is the output of the module named by `net.measured_input`. Without that attribute it is the first
    floating-point tensor passed to any innermost module; if that is computed from tokens, the output of the embedding.
    `choose_layers` describes the other layers. A layer that is called several times in a pass counts as several layers,
    named `name`, `name:2`, `name:3`, …; but the calls of a recurrent cell are one layer, the mean over its time steps.
    The hooks are on inner modules, where `torch.compile` keeps them if they exist before the first compiled call.

    Args:
        net: Any module.
        layers: The layers, as in `choose_layers`, or a choice made before.
        measure: Function from an activation (samples, …) to what is stored.
        pool: Function from what is stored of the time steps of a recurrent cell to what is stored of the cell.

    Raises:
        ValueError: a pattern matches nothing, or the net has nothing to measure.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
        >>> capture = Capture(net)
        >>> capture.start()
        >>> _ = net(torch.tensor([[3.0, -4.0]]))
        >>> [(reading.name, reading.lengths.tolist()) for reading in capture.stop()]
        [('input', [12.5]), ('1', [4.5])]
    """

    def __init__(
        self,
        net: nn.Module,
        layers: Layers | LayerChoice = "auto",
        *,
        measure: Callable[[Tensor], Any] = activation_lengths,
        pool: Callable[[Sequence[Any]], Any] = lambda steps: torch.stack([*steps]).mean(0),
    ) -> None:
        self.choice = layers if isinstance(layers, LayerChoice) else choose_layers(net, layers)
        self.active = False
        self.samples = self.choice.samples
        self.reading: tuple[str, Tensor] | None = None  # name and activation of the layer that is being measured
        self._measure, self._pool = measure, pool
        self._readings: list[LayerReading] = []
        self._input: LayerReading | None = None  # without samples, until one with samples is found
        self._functions: FunctionCalls | None = None
        self._entered = False
        self._handles: list[Any] = []
        modules = modules_by_name(net)
        self._cells = frozenset(name for name, module in modules.items() if isinstance(module, nn.RNNCellBase))
        input_name = getattr(net, "measured_input", None)
        if input_name is None:
            self._read_inputs_of(net)
        else:
            self._read_output_of(INPUT, net.get_submodule(input_name))
        for name in self.choice.kinds:
            if name in modules:
                self._read_output_of(name, modules[name])
        if self.choice.functions:
            self._functions = FunctionCalls(net, self.choice.callers, self._read_function)
            self._handles.append(self._functions)

    def start(self) -> None:
        """Start measuring; discard readings of a pass that was started but not stopped."""
        self._readings, self._input = [], None
        self.active = True
        if self._functions is not None and not self._entered:
            self._functions.__enter__()
            self._entered = True

    def enter(self, inputs: Any) -> None:
        """Prepare to measure the call of a net with these inputs, whose number of samples need not be the batch's."""
        self.samples.enter(inputs)

    def stop(self) -> list[LayerReading]:
        """Stop measuring and return the readings of the input and of each layer, in the order of their calls."""
        readings = self.take()
        self.end()
        return self.numbered(readings)

    def take(self) -> list[LayerReading]:
        """Pause measuring and return the readings of all calls, without numbers in their names."""
        self.active = False
        readings, self._readings = self._readings, []
        return readings

    def numbered(self, readings: Sequence[LayerReading]) -> list[LayerReading]:
        """Pool the calls of recurrent cells, and number those of other layers."""
        steps: dict[str, list[Any]] = {}
        for reading in readings if self._cells else ():
            if reading.name in self._cells:
                steps.setdefault(reading.name, []).append(reading.lengths)
        layers = []
        for reading in readings:
            if reading.name not in self._cells:
                layers.append(reading)
            elif reading.name in steps:
                layers.append(reading._replace(lengths=self._pool(steps.pop(reading.name))))
        names = numbered_calls([reading.name for reading in layers])
        return [reading._replace(name=name) for name, reading in zip(names, layers, strict=True)]

    def end(self) -> None:
        """Stop measuring, after `take`, when no context that was entered since `start` is left."""
        self.active = False
        if self._entered and self._functions is not None:
            self._entered = False
            self._functions.__exit__(None, None, None)

    def remove(self) -> None:
        """Remove the hooks from the net."""
        self.end()
        for handle in self._handles:
            handle.remove()

    def _read_output_of(self, name: str, module: nn.Module) -> None:
        self._handles.append(
            module.register_forward_hook(lambda module, inputs, output: self._read(name, output, inputs))
        )

    def _read_inputs_of(self, net: nn.Module) -> None:
        for module in net.modules():
            if not inner_modules(module):
                self._handles.append(module.register_forward_pre_hook(self._read_input, with_kwargs=True))
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                self._handles.append(module.register_forward_hook(self._read_embedding))

    def _read_input(self, module: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any]) -> None:
        if not self._readings:
            self._enter_input((inputs, by_name))
            self._read(INPUT, (inputs, by_name))

    def _enter_input(self, inputs: Any) -> None:
        """Count the samples of the first tensor that reaches a module, if they are not those of the batch."""
        if torch.compiler.is_compiling() or not self.active or is_backward() or self._input is not None:
            return
        if (tensor := first_tensor(inputs)) is not None:
            self.enter([tensor])

    def _read_embedding(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not self._readings:
            self._read(INPUT, output)

    def _read_function(self, name: str, output: Tensor, inputs: tuple[Any, ...]) -> None:
        if name in self.choice.kinds:
            self._read(name, output, inputs)

    def _read(self, name: str, values: Any, inputs: Any = None) -> None:
        """Measure a layer; and before the first one the input, from the inputs of this layer if need be."""
        if not self.active or is_backward() or (whole := first_tensor(values)) is None:
            return
        activation, sampled = self.samples.first(name, whole)
        if name == INPUT and not sampled:
            self._input = self._input or LayerReading(name, self._measure(activation), sampled)
            return
        if not self._readings and name != INPUT:
            if self._input is not None:
                self._readings.append(self._input)
            elif inputs is not None:
                self._read(INPUT, inputs)
        self.reading = name, whole
        self._readings.append(LayerReading(name, self._measure(activation), sampled))
        self.reading = None


def numbered_calls(names: Sequence[str]) -> list[str]:
    """Append `:k` to the name at its k-th occurrence, k > 1.

    Example:
        >>> numbered_calls(["input", "relu", "relu"])
        ['input', 'relu', 'relu:2']
    """
    calls: Counter[str] = Counter()
    numbered = []
    for name in names:
        calls[name] += 1
        numbered.append(f"{name}:{calls[name]}" if calls[name] > 1 else name)
    return numbered


def first_tensor(values: Any) -> Tensor | None:
    """Find the first floating-point tensor with an axis in nested tuples, lists and mappings.

    Samples of different sizes, of a nested tensor or a `PackedSequence`, are padded with zeros.
    """
    if isinstance(values, Tensor):
        if not values.is_floating_point() or values.dim() == 0:
            return None
        return values if not values.is_nested else _padded(values.to_padded_tensor(0.0), [*values.unbind()])
    if isinstance(values, PackedSequence):
        padded, counts = pad_packed_sequence(values, batch_first=True)
        return _padded(padded, [sample[:count] for sample, count in zip(padded, counts.tolist(), strict=True)])
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, str) or not isinstance(values, Iterable):
        return None
    return next((tensor for value in values if (tensor := first_tensor(value)) is not None), None)


def _padded(padded: Tensor, samples: Sequence[Tensor]) -> Tensor:
    """Scale samples that were padded with zeros such that their lengths, over all values, are those without padding."""
    scales = [math.sqrt(padded[0].numel() / max(sample.numel(), 1)) for sample in samples]
    return padded * padded.new_tensor(scales).reshape(-1, *[1] * (padded.dim() - 1))
