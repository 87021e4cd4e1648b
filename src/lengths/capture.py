"""Read activation lengths off any net's forward pass, by hooks that keep nothing else."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules import activation as torch_activations

from start_training.lengths.activation_length import activation_lengths

INPUT = "input"

# Everything torch files under activations, except what normalizes over units or has units of its own.
_NO_ACTIVATION = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.MultiheadAttention)
ACTIVATION_MODULES = tuple(
    module
    for name in torch_activations.__all__
    if not issubclass(module := getattr(torch_activations, name), _NO_ACTIVATION)
)


class Reading(NamedTuple):
    """The length of each sample, (samples,) in float64, at the output of the module `name`."""

    name: str
    lengths: Tensor


class Capture:
    """Hooks on a net that, between `start` and `stop`, read one length per sample, layer and call.

    Layer 0 is the input: the first floating-point tensor given to any innermost module, or the
    output of `net.measured_input` where a net names one. The other layers are, in this order of
    preference: the modules whose names match `patterns` (as in `fnmatch`); those a net names in
    `measured_layers`; its activation modules; its innermost modules with weights. A module called
    several times is as many layers; the later ones are called `name:2`, `name:3`, …

    Hooks sit on inner modules, where they survive `torch.compile` if registered before the first
    compiled call. `measure` makes lengths of an activation. Raises ValueError for a pattern that matches nothing,
    or a net with nothing to measure.
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
        self._readings: list[Reading] = []
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
        """Begin a forward pass; what an earlier one left is forgotten."""
        self._readings = []
        self.active = True

    def stop(self) -> list[Reading]:
        """End it: the input's reading and then each layer's, in the order in which they ran."""
        self.active = False
        readings, self._readings = self._readings, []
        calls: Counter[str] = Counter()
        for position, (name, lengths) in enumerate(readings):
            calls[name] += 1
            if calls[name] > 1:
                readings[position] = Reading(f"{name}:{calls[name]}", lengths)
        return readings

    def remove(self) -> None:
        """Take the hooks off the net."""
        for handle in self._handles:
            handle.remove()

    def _read_output_of(self, name: str, module: nn.Module) -> None:
        def read(module: nn.Module, inputs: Any, output: Any) -> None:
            self._read(name, output)

        self._handles.append(module.register_forward_hook(read))

    def _read_input(self, module: nn.Module, inputs: tuple[Any, ...], by_name: dict[str, Any]) -> None:
        if not self._readings:
            self._read(INPUT, (inputs, by_name))

    def _read(self, name: str, values: Any) -> None:
        if self.active and (activation := _first_tensor(values)) is not None:
            self._readings.append(Reading(name, self._measure(activation)))


def measured_layers(net: nn.Module, patterns: Sequence[str] | None = None) -> list[str]:
    """The names of the modules whose outputs are layers 1 … d; see `Capture` for the choice and errors."""
    names = [name for name, _ in net.named_modules() if name]
    if patterns is not None:
        return _matching(names, patterns)
    if (declared := getattr(net, "measured_layers", None)) is not None:
        return list(declared)
    activations = [name for name in names if isinstance(net.get_submodule(name), ACTIVATION_MODULES)]
    weighted = [name for name, module in _innermost(net).items() if any(True for _ in module.parameters())]
    if not activations and not weighted:
        raise ValueError(f"{type(net).__name__}: has neither activation modules nor modules with weights to measure")
    return activations or weighted


def _matching(names: list[str], patterns: Sequence[str]) -> list[str]:
    if not patterns:
        raise ValueError("modules = []: must name at least one pattern, or be left out")
    for pattern in patterns:
        if not any(fnmatchcase(_plain(name), pattern) for name in names):
            raise ValueError(f"modules = {pattern!r}: matches none of {', '.join(map(_plain, names))}")
    return [name for name in names if any(fnmatchcase(_plain(name), pattern) for pattern in patterns)]


def _innermost(net: nn.Module) -> dict[str, nn.Module]:
    """Modules without modules inside; attention is one, which uses its inner modules' weights and never calls them."""
    modules = {name: module for name, module in net.named_modules() if name}
    attention = [name for name, module in modules.items() if isinstance(module, nn.MultiheadAttention)]
    uncalled = tuple(f"{name}." for name in attention)
    return {
        name: module
        for name, module in modules.items()
        if (name in attention or not any(module.children())) and not name.startswith(uncalled)
    }


def _plain(name: str) -> str:
    return name.replace("_orig_mod.", "")  # what torch.compile puts around a module


def _first_tensor(values: Any) -> Tensor | None:
    """The first floating-point tensor with a sample axis in a (nested) tuple, list or dict."""
    if isinstance(values, Tensor):  # the common case; to ask a generator takes a microsecond
        return values if _has_samples(values) else None
    return next(_tensors(values), None)


def _has_samples(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 0


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        if _has_samples(values):
            yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, Iterable) and not isinstance(values, str):
        for value in values:
            yield from _tensors(value)
