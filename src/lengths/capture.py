"""Forward hooks that measure activation lengths in any net and store nothing else."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import activation as torch_activations

from start_training.lengths.activation_length import activation_lengths

INPUT = "input"

# Activation modules: those in torch.nn.modules.activation that neither normalize over units nor contain layers.
_NO_ACTIVATION = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.MultiheadAttention)
ACTIVATION_MODULES = tuple(
    module
    for name in torch_activations.__all__
    if not issubclass(module := getattr(torch_activations, name), _NO_ACTIVATION)
)


class LayerReading(NamedTuple):
    """Lengths measured at one call of one layer.

    Args:
        name: Name of the module, or `input` for layer 0; `:k` is appended for the k-th call in a pass, k > 1.
        lengths: Length of each sample, shape (samples,), float64.
    """

    name: str
    lengths: Tensor


class Capture:
    """Forward hooks that measure the length of every sample in each layer of a net, between `start` and `stop`.

    Layer 0 is the input: the output of the module named by `net.measured_input`, or without that attribute the first
    floating-point tensor passed to any innermost module. The other layers are, in this order of preference: the modules
    whose names match `patterns`; the modules named in `net.measured_layers`; activation modules; innermost modules with
    weights. A module that is called several times in a pass counts as several layers, named `name`, `name:2`,
    `name:3`, …
    The hooks are on inner modules, where `torch.compile` keeps them if they exist before the first compiled call.

    Args:
        net: Any module.
        patterns: Patterns for the names of the modules to measure, as in `fnmatch`.
        measure: Function from an activation (samples, …) to the tensor that is stored.

    Raises:
        ValueError: a pattern matches nothing, or the net has nothing to measure.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Identity(), nn.ReLU())
        >>> capture = Capture(net)
        >>> capture.start()
        >>> _ = net(torch.tensor([[3.0, -4.0]]))
        >>> [(name, lengths.tolist()) for name, lengths in capture.stop()]
        [('input', [12.5]), ('1', [4.5])]
    """

    def __init__(
        self,
        net: nn.Module,
        patterns: Sequence[str] | None = None,
        *,
        measure: Callable[[Tensor], Tensor] = activation_lengths,
    ) -> None:
        self.active = False
        self._measure = measure
        self._readings: list[LayerReading] = []
        self._handles = []
        input_name = getattr(net, "measured_input", None)
        if input_name is None:
            for module in _innermost(net).values():
                self._handles.append(module.register_forward_pre_hook(self._read_input, with_kwargs=True))
        else:
            self._read_output_of(INPUT, net.get_submodule(input_name))
        for name in measured_layers(net, patterns):
            self._read_output_of(_plain(name), net.get_submodule(name))

    def start(self) -> None:
        """Start measuring; discard readings of a pass that was started but not stopped."""
        self._readings = []
        self.active = True

    def stop(self) -> list[LayerReading]:
        """Stop measuring and return the readings of the input and of each layer, in the order of their calls."""
        readings = self.take()
        numbered = numbered_calls([name for name, _ in readings])
        return [LayerReading(name, lengths) for name, (_, lengths) in zip(numbered, readings, strict=True)]

    def take(self) -> list[LayerReading]:
        """Stop measuring and return the readings as `stop` does, but without numbers of calls in their names."""
        self.active = False
        readings, self._readings = self._readings, []
        return readings

    def remove(self) -> None:
        """Remove the hooks from the net."""
        for handle in self._handles:
            handle.remove()

    def _read_output_of(self, name: str, module: nn.Module) -> None:
        self._handles.append(module.register_forward_hook(lambda module, inputs, output: self._read(name, output)))

    def _read_input(self, module: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any]) -> None:
        if not self._readings:
            self._read(INPUT, (inputs, by_name))

    def _read(self, name: str, values: Any) -> None:
        if self.active and not is_backward() and (activation := _first_tensor(values)) is not None:
            self._readings.append(LayerReading(name, self._measure(activation)))


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


def is_backward() -> bool:
    """Return whether a backward pass is running, in which gradient checkpointing calls layers a second time."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def measured_layers(net: nn.Module, patterns: Sequence[str] | None = None) -> list[str]:
    """Return the names of the modules whose outputs `Capture` measures as layers 1 … d.

    Args:
        net: Any module.
        patterns: Patterns for the names of the modules to measure, as in `fnmatch`.

    Raises:
        ValueError: a pattern matches nothing, or the net has nothing to measure.

    Example:
        >>> measured_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)))
        ['1']
    """
    names = [name for name, _ in net.named_modules() if name]
    if patterns is not None:
        return _matching(names, patterns)
    if (declared := getattr(net, "measured_layers", None)) is not None:
        return list(declared)
    activations = [name for name in names if isinstance(net.get_submodule(name), ACTIVATION_MODULES)]
    weighted = [name for name, module in _innermost(net).items() if any(True for _ in module.parameters())]
    if not activations and not weighted:
        raise ValueError(
            f"{type(net).__name__}: has neither activation modules nor modules with weights; "
            "name the modules to measure, as in modules=['0', 'hidden.*']"
        )
    return activations or weighted


def _matching(names: list[str], patterns: Sequence[str]) -> list[str]:
    if not patterns:
        raise ValueError("modules = []: must contain at least one pattern, or be null for the default layers")
    for pattern in patterns:
        if not any(fnmatchcase(_plain(name), pattern) for name in names):
            raise ValueError(f"modules = {pattern!r}: must match one of {', '.join(map(_plain, names))}")
    return [name for name in names if any(fnmatchcase(_plain(name), pattern) for pattern in patterns)]


def _innermost(net: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that contain no other modules, by name.

    `nn.MultiheadAttention` counts as innermost, because it uses its inner modules' weights without calling them.
    """
    modules = {name: module for name, module in net.named_modules() if name}
    attention = [name for name, module in modules.items() if isinstance(module, nn.MultiheadAttention)]
    uncalled = tuple(f"{name}." for name in attention)
    return {
        name: module
        for name, module in modules.items()
        if (name in attention or not any(module.children())) and not name.startswith(uncalled)
    }


def _plain(name: str) -> str:
    return name.replace("_orig_mod.", "")  # torch.compile adds this prefix to names


def _first_tensor(values: Any) -> Tensor | None:
    """Find the first floating-point tensor with a sample axis in nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        return values if values.is_floating_point() and values.dim() > 0 else None
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, str) or not isinstance(values, Iterable):
        return None
    return next((tensor for value in values if (tensor := _first_tensor(value)) is not None), None)
