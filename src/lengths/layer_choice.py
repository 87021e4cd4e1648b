"""Choose the layers of a net whose lengths are measured."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import nn

from start_training.lengths.activation_functions import (
    ACTIVATION_FUNCTIONS,
    ACTIVATION_MODULES,
    OVER_UNITS,
    PARTS_OF_ACTIVATIONS,
    RECURRENT_MODULES,
)
from start_training.lengths.blocks import is_inside, repeated_blocks
from start_training.lengths.call import Call
from start_training.lengths.coverage import Coverage, coverage_of
from start_training.lengths.forward_trace import ForwardTrace
from start_training.lengths.modules import has_weights, inner_modules, modules_by_name
from start_training.lengths.sample_axis import SampleAxis, sample_axis_of
from start_training.streams import isolate_random_streams

KEYWORDS = ("auto", "blocks", "activations", "weights")
Layers: TypeAlias = str | Sequence[str] | None


class NoLayers(ValueError):
    """A net has no layers of the kind that is asked for."""


@dataclass(frozen=True)
class LayerChoice:
    """The layers of a net whose lengths are measured.

    Attributes:
        kinds: Kind of each layer by its name, such as `blocks`. A name is that of a module, or for the calls of an
            activation function that of the calling module and `F.<function>`, joined by a dot.
        coverage: What they cover.
        callers: Names of the modules that call activation functions.
        samples: Where the samples are in their activations.
    """

    kinds: Mapping[str, str]
    coverage: Coverage
    callers: frozenset[str]
    samples: SampleAxis

    @property
    def functions(self) -> bool:
        """Whether calls of functions are measured."""
        return any(is_function(name) for name in self.kinds)


def choose_layers(
    net: nn.Module,
    layers: Layers = "auto",
    *,
    trace: ForwardTrace | None = None,
    batch: Any = None,
    sample_axis: int | Mapping[str, int] | None = None,
    functions: bool = True,
) -> LayerChoice:
    """Choose the layers of a net whose lengths are measured, besides its input.

    Args:
        net: Any module.
        layers: `auto`, `blocks`, `activations`, `weights`, or name patterns of layers, as in `fnmatch`.

            - `auto` (or None): the modules named in `net.measured_layers`. Without this attribute the outputs of
              repeated blocks (see `repeated_blocks`), and outside them activations; weighted modules if there are none.
            - `blocks`: repeated blocks only.
            - `activations`: activation modules, recurrent modules, and calls of activation functions, anywhere.
            - `weights`: the innermost modules with weights of two or more axes, but no embeddings.
        trace: A forward pass of the net. Without it, calls of functions are not known, and blocks are told by their
            class and place alone.
        batch: The batch of that pass.
        sample_axis: The axis of samples in all layers, or by name pattern; None: see `SampleAxis`.
        functions: Whether calls of functions can be layers; those in a compiled net are not seen later.

    Raises:
        NoLayers: there is no such layer.

    Example:
        >>> list(choose_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))).kinds)
        ['1']
    """
    calls = trace.calls if trace is not None else []
    if trace is not None:  # without functions outside the net, such as a loss
        calls = [call for call in calls if call.module or call.parent or call.bit & trace.before_weights]
    kinds = _kinds(net, layers, [call for call in calls if functions or call.module is not None])
    order = {call.name: index for index, call in enumerate(calls)}
    kinds = dict(sorted(kinds.items(), key=lambda item: order.get(item[0], len(order))))
    callers = frozenset(call.name for call in calls if call.functions & ACTIVATION_FUNCTIONS) | frozenset(
        call.parent.name for call in calls if call.module is None and call.parent is not None
    )
    samples = sample_axis_of(batch, calls, kinds, sample_axis)
    return LayerChoice(kinds, coverage_of(net, kinds, trace), callers, samples)


def check_layers(net: nn.Module, layers: Layers, setting: str = "layers") -> None:
    """Raise NoLayers if a pattern matches no module of a net; patterns of functions are not checked.

    Args:
        net: The net.
        layers: As in `choose_layers`.
        setting: Name of the setting in the message.
    """
    if not (layers is None or (isinstance(layers, str) and layers in KEYWORDS)):
        _matching([*_modules(net)], layers, complete=False, setting=setting)


def choose_from_pass(
    net: nn.Module,
    layers: Layers,
    arguments: Sequence[Any],
    named: Mapping[str, Any] | None = None,
    *,
    sample_axis: int | Mapping[str, int] | None = None,
) -> LayerChoice:
    """Choose the layers of a net by a forward pass of a copy of it, which changes neither the net nor random streams.

    Args:
        net: Any module.
        layers: As in `choose_layers`.
        arguments: Positional arguments of its forward pass.
        named: Keyword arguments of its forward pass.
        sample_axis: As in `choose_layers`.

    Raises:
        NoLayers: see `choose_layers`.
    """
    batch, tested = [*arguments, *(named or {}).values()], copy.deepcopy(net)
    trace = ForwardTrace(tested, batch)
    with isolate_random_streams(), torch.no_grad(), trace:
        tested(*arguments, **(named or {}))
    return choose_layers(tested, layers, trace=trace, batch=batch, sample_axis=sample_axis)


def is_function(name: str) -> bool:
    """Return whether a layer's name is that of the calls of a function.

    Example:
        >>> is_function("layers.0.F.relu"), is_function("F.relu"), is_function("layers.0.relu")
        (True, True, False)
    """
    return name.split(".")[-2:-1] == ["F"]


def _kinds(net: nn.Module, layers: Layers, calls: Sequence[Call]) -> dict[str, str]:
    modules = _modules(net)
    if layers is not None and not (isinstance(layers, str) and layers in KEYWORDS):
        functions = dict.fromkeys(call.name for call in calls if call.module is None)
        names = _matching([*modules, *functions], layers, complete=bool(calls))
        return dict.fromkeys(names, "chosen layers")
    if layers == "weights":
        return dict.fromkeys(_weighted(net, modules), "weighted modules")
    if layers in (None, "auto") and (declared := getattr(net, "measured_layers", None)) is not None:
        return dict.fromkeys(declared, "declared layers")
    blocks = [] if layers == "activations" else repeated_blocks(net, calls)
    kinds = dict.fromkeys(blocks, "blocks")
    if layers == "blocks":
        if not kinds:
            raise NoLayers(
                f"layers = blocks: {type(net).__name__} has no repeated blocks, which are modules of equal class that "
                "feed each other; allowed are also auto, activations, weights and name patterns"
            )
        return kinds
    for name, kind in _activations(modules, calls).items():
        if name not in kinds and not is_inside(name, set(blocks)):
            kinds[name] = kind
    if not kinds and layers == "activations":
        raise NoLayers(
            f"layers = activations: {type(net).__name__} has no activation modules and calls no activation functions; "
            "allowed are also auto, blocks, weights and name patterns"
        )
    return kinds or dict.fromkeys(_weighted(net, modules), "weighted modules")


def _modules(net: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in modules_by_name(net).items() if name}


def _activations(modules: Mapping[str, nn.Module], calls: Sequence[Call]) -> dict[str, str]:
    """Return activation modules, recurrent modules and calls of activation functions, with their kinds."""
    kinds = {name: "activations" for name, module in modules.items() if isinstance(module, ACTIVATION_MODULES)}
    kinds |= {name: "recurrent modules" for name, module in modules.items() if isinstance(module, RECURRENT_MODULES)}
    for call in calls:
        if call.module is not None and call.name and _acts(call):
            kinds.setdefault(call.name, "activations")
    inside = set(kinds)
    functions = [call for call in calls if call.module is None]
    used = {call.name for call in functions if not call.gate}
    for call in functions:
        owner = call.parent.name if call.parent is not None else ""
        transforms = call.inputs > 1  # not of constants or of the batch alone
        if owner not in inside and not is_inside(owner, inside) and transforms and call.name in used:
            kinds.setdefault(call.name, "activations")
    return kinds


def _acts(call: Call) -> bool:
    """Return whether a call is that of a module without weights that contains an activation function."""
    module = call.module
    if module is None or inner_modules(module) or has_weights(module) or call.functions & OVER_UNITS:
        return False
    return bool(call.transforms & PARTS_OF_ACTIVATIONS)


def _weighted(net: nn.Module, modules: Mapping[str, nn.Module]) -> list[str]:
    embeddings = (nn.Embedding, nn.EmbeddingBag)
    attention = {name for name, module in modules.items() if isinstance(module, nn.MultiheadAttention)}
    called = {name: module for name, module in modules.items() if not is_inside(name, attention)}
    weighted = [name for name, module in called.items() if has_weights(module)]
    names = [name for name in weighted if not isinstance(modules[name], embeddings)] or weighted
    names = names or [name for name, module in called.items() if any(True for _ in module.parameters(recurse=False))]
    if not names:
        raise NoLayers(
            f"{type(net).__name__}: has neither activations nor modules with weights; name the modules to measure, as "
            "in layers=['0', 'hidden.*']"
        )
    return names


def _matching(names: list[str], patterns: str | Sequence[str], *, complete: bool, setting: str = "layers") -> list[str]:
    """Return the names that match a pattern; `complete` tells whether the names of functions are among them."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not patterns:
        raise NoLayers(f"{setting} = []: must contain at least one pattern; null stands for the default layers")
    for pattern in patterns:
        later = not complete and "F." in pattern
        if not later and not any(fnmatchcase(name, pattern) for name in names):
            raise NoLayers(f"{setting} = {pattern!r}: must match one of {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
