"""The layers of a net in the order of execution, each with the activations around it, and the ends of its branches."""

import copy
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from start_training.diagnosis.evidence.prepare import Prepared
from start_training.diagnosis.finding import listed
from start_training.initializers.choice import choose
from start_training.initializers.torch_activation import activation_of
from start_training.initializers.weight_matrix import Weight
from start_training.initializers.weights import weights_of
from start_training.lengths.activation_functions import RECURRENT_MODULES
from start_training.lengths.call import Call
from start_training.lengths.forward_trace import ForwardTrace
from start_training.lengths.modules import has_weights, inner_modules
from start_training.streams import isolate_random_streams
from start_training.theory.activation import Activation
from start_training.theory.critical_point import moments

PROBE = np.linspace(-3, 3, 61)
_KNOWN: dict[bytes, Activation] = {}  # by their values, so that equal ones are integrated once


@dataclass(frozen=True)
class LayerNode:
    """A layer whose weights may be changed.

    Attributes:
        name: Its name in the net.
        module: The layer; of attention, the module that projects and attends.
        weights: Its weights, without those that are to be left as they are (frozen, adapters, zeros at ends).
        last: Those of them whose products are its outputs.
        before: The activation whose outputs are its inputs; None: there is none.
        after: The activation that is applied to its outputs; None: there is none.
        readout: Whether no further weights multiply what comes from its outputs.
        end: Whether a residual branch ends with it.
    """

    name: str
    module: nn.Module
    weights: tuple[Weight, ...]
    last: tuple[Weight, ...]
    before: Activation | None
    after: Activation | None
    readout: bool
    end: bool

    @property
    def recurrent(self) -> bool:
        return isinstance(self.module, RECURRENT_MODULES)


@dataclass(frozen=True)
class NetGraph:
    """The layers of a net.

    Attributes:
        nodes: The layers that a forward pass calls, in the order of their first calls.
        branches: Number of additions of residual branches in a pass.
    """

    nodes: tuple[LayerNode, ...]
    branches: int

    @property
    def readouts(self) -> str:
        """The names of the readouts."""
        return listed([node.name for node in self.nodes if node.readout])


def graph_of(net: nn.Module, case: Prepared) -> NetGraph:
    """Pass a batch through a copy of a net, and return its layers.

    Args:
        net: The net, to whose modules the result refers; it is not changed.
        case: The batch and the loss.
    """
    twin, batch = copy.deepcopy(net), case.batches[0]
    trace = ForwardTrace(twin, batch.inputs)
    with isolate_random_streams(torch.Generator().manual_seed(0)), torch.no_grad(), trace:
        case.objective.loss(twin, batch)
    trace.remove()
    original = dict(zip(twin.modules(), net.modules(), strict=True))
    first: dict[nn.Module, Call] = {}
    for call in trace.calls:
        if call.module is not None:
            first.setdefault(call.module, call)
    free = _free_weights(net)
    around = _Around(trace.calls)
    ends = 0
    for branch in trace.branches:
        ends |= branch
    nodes = []
    for module, call in first.items():
        weights, last = free.get(original[module], ((), ()))
        if weights:
            bit = trace.weights.get(call.name, 0)
            readout = not bit & trace.before_weights
            before, after = around.before.get(call.bit), around.after.get(call.bit)
            nodes.append(
                LayerNode(call.name, original[module], weights, last, before, after, readout, bool(bit & ends))
            )
    return NetGraph(tuple(nodes), len(trace.branches))


def _free_weights(net: nn.Module) -> dict[nn.Module, tuple[tuple[Weight, ...], tuple[Weight, ...]]]:
    """Map each module that is called to its weights that may be changed, and to those that give its outputs."""
    kept = {(id(weight.module), weight.name) for weight in choose(net).drawn}
    of_module: dict[nn.Module, list[Weight]] = {}
    for weight in weights_of(net):
        if (id(weight.module), weight.name) in kept:
            of_module.setdefault(weight.module, []).append(weight)
    result = {module: (tuple(weights), tuple(weights)) for module, weights in of_module.items()}
    for module in [*result]:
        if isinstance(module, nn.MultiheadAttention):  # it uses its projection of outputs without calling it
            last = tuple(of_module.get(module.out_proj, ()))
            result[module] = (*result[module][:1], last)
    return result


class _Around:
    """The activations before and after each call of a layer, by the bit of the call."""

    def __init__(self, calls: list[Call]) -> None:
        self.before: dict[int, Activation | None] = {}
        self.after: dict[int, Activation | None] = {}
        known: dict[Any, Activation | None] = {}
        inner = [call for call in calls if call.module is None or not inner_modules(call.module)]
        for index, call in enumerate(inner):
            if call.module is None or not has_weights(call.module):
                continue
            for other in reversed(inner[:index]):
                if not other.bit & call.inputs:
                    continue
                if other.module is not None and (has_weights(other.module) or _normalizes(other.module)):
                    break
                key = other.module or other.name.rpartition(".")[2]
                if key not in known:
                    known[key] = _activation(other)
                if known[key] is not None:
                    self.before[call.bit] = known[key]
                    self._note_after(inner, other, known[key])
                    break

    def _note_after(self, inner: list[Call], activation: Call, function: Activation | None) -> None:
        for other in reversed(inner[: inner.index(activation)]):
            if other.bit & activation.inputs and other.module is not None:
                if _normalizes(other.module):
                    return
                if has_weights(other.module):
                    self.after.setdefault(other.bit, function)
                    return


def _normalizes(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _activation(call: Call) -> Activation | None:
    """Return the elementwise function of a call; None if it is none, or passes its inputs on, as dropout does."""
    function: Callable[..., Any] | None = call.module
    if function is None:
        name = call.name.rpartition(".")[2]
        function = getattr(F, name, None) or getattr(torch, name, None)
    if function is None:
        return None
    try:
        activation = activation_of(function)
        values = activation.value(PROBE)
        return None if bool((values == PROBE).all()) else _KNOWN.setdefault(values.tobytes(), activation)
    except Exception:  # a module of the user may raise anything
        return None


def length_gain(activation: Activation | None, q: float) -> tuple[float, float]:
    """Return E[φ(√q z)²] and chi of the weights that keep the variance q of pre-activations.

    chi = q E[φ′(√q z)²] / E[φ(√q z)²] is the factor of squared gradients per layer; see `critical_point.chi`.
    """
    return (q, 1.0) if activation is None else _length_gain(cast(Hashable, activation), q)


@cache
def _length_gain(activation: Any, q: float) -> tuple[float, float]:
    mean = moments(activation, q)
    return mean.second, q * mean.derivative / mean.second if mean.second > 0 else math.nan
