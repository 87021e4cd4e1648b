"""Tell apart the forward passes of a training step, as of a GAN, and measure the layers in each of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.lengths.capture import INPUT, Capture, LayerReading
from start_training.lengths.forward_trace import is_backward, tensors_in


class ForwardPass(NamedTuple):
    """The layers measured in one forward pass; `phase` names the nets that were called, joined by `+`."""

    phase: str
    readings: tuple[LayerReading, ...]


@dataclass(frozen=True)
class _Call:
    """A call of a net: what it measured, and the memory of its inputs and outputs, to find out which net feeds it."""

    net: str
    inputs: frozenset[int] = frozenset()
    differentiable: bool = False  # whether an input depends on parameters
    outputs: set[int] = field(default_factory=set)
    readings: tuple[LayerReading, ...] = ()


class ForwardPasses:
    """Hooks that measure the layers of a module between `start` and `stop`, and split them into forward passes.

    Nets that are called once each, as an encoder and a decoder, are one pass. If a net is called more than once, as the
    discriminator of a GAN for real and for generated samples, each of its calls belongs to another pass: that of the
    net whose output it gets, or a new one.
    Layers that gradient checkpointing calls again in the backward pass are not measured again. Calls of a net that
    `net.compile()` has compiled are not told apart: its layers are numbered, as `name:2`.

    Args:
        nets: The nets whose calls are told apart, by name. A net called within the call of another is part of it.
        capture: What measures the layers.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> passes = ForwardPasses({"net": net}, Capture(net))
        >>> passes.start()
        >>> _ = net(torch.ones(3, 2)), net(torch.zeros(5, 2))
        >>> [(one.phase, [(reading.name, len(reading.lengths)) for reading in one.readings]) for one in passes.stop()]
        [('net', [('input', 3), ('1', 3)]), ('net', [('input', 5), ('1', 5)])]
    """

    def __init__(self, nets: dict[str, nn.Module], capture: Capture) -> None:
        self._capture = capture
        self._calls: list[_Call] = []
        self._depth = 0  # of nets that call each other
        self._several = len(nets) > 1
        self._handles: list[Any] = []
        for name, net in nets.items():
            self._handles.append(net.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
            if self._several:
                self._handles.append(net.register_forward_hook(self._leave))

    @property
    def active(self) -> bool:
        """Whether layers are measured now."""
        return self._capture.active

    def start(self) -> None:
        """Start measuring; discard passes that were started but not stopped."""
        self._calls, self._depth = [], 0
        self._capture.start()

    def stop(self) -> list[ForwardPass]:
        """Pause measuring; return the passes since `start` in which a layer other than the input was measured."""
        self._end_call()
        self._capture.active = False
        calls, self._calls = self._calls, []
        passes = (self._joined(chain) for chain in _chains(calls))
        return [forward for forward in passes if any(reading.name != INPUT for reading in forward.readings)]

    def end(self) -> None:
        """Stop measuring, after `stop`, at the end of the training step."""
        self._capture.end()

    def remove(self) -> None:
        """Remove the hooks from the module."""
        self._capture.remove()
        for handle in self._handles:
            handle.remove()

    def _enter(self, name: str, module: nn.Module, inputs: Any, by_name: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or not self._capture.active or is_backward():
            return
        if self._several:
            self._depth += 1
            if self._depth > 1:
                return
        self._end_call()
        call = _Call(name)
        if self._several:
            tensors = [*tensors_in((inputs, by_name))]
            call = replace(call, inputs=_memory(tensors), differentiable=any(t.requires_grad for t in tensors))
        self._calls.append(call)
        self._capture.start()
        self._capture.enter([*inputs, *by_name.values()])

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not self._capture.active or is_backward():
            return
        self._depth -= 1
        if self._depth == 0 and self._calls:
            self._calls[-1].outputs.update(_memory(tensors_in(output)))

    def _end_call(self) -> None:
        """Attach what was measured since the last call of a net to that call."""
        if readings := self._capture.take():
            last = self._calls.pop() if self._calls else _Call("")
            self._calls.append(replace(last, readings=(*last.readings, *readings)))

    def _joined(self, calls: list[_Call]) -> ForwardPass:
        """Return the pass of these calls, with one input."""
        readings: list[LayerReading] = []
        for call in calls:
            later = any(reading.name == INPUT for reading in readings)
            readings += [reading for reading in call.readings if not (later and reading.name == INPUT)]
        names = dict.fromkeys(call.net for call in calls if call.net)
        return ForwardPass("+".join(names), tuple(self._capture.numbered(readings)))


def measured_net(module: nn.Module) -> nn.Module:
    """Return the child of a LightningModule that holds all its parameters, or the module itself if no child does."""
    parameters = len(list(module.parameters()))
    for child in module.children():
        if parameters and len(list(child.parameters())) == parameters:
            return getattr(child, "_orig_mod", child)  # torch.compile wraps the net in another module
    return module


def nets_of(module: nn.Module, net: nn.Module) -> dict[str, nn.Module]:
    """Return the nets in a module whose calls are forward passes, by name.

    This is the child that is `net`, or wraps it as torch.compile does. If `net` is the module itself, these are the
    children with weights that contain other modules; for a container without a `forward`, as `nn.ModuleList`, its
    members.

    Example:
        >>> gan = nn.ModuleDict({name: nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for name in ("g", "d")})
        >>> [*nets_of(gan, gan)], [*nets_of(nn.ModuleList([gan["g"]]), gan["g"])]
        (['g', 'd'], ['0'])
    """
    if net is not module:
        return {name: child for name, child in module.named_children() if net in (child, *child.children())}
    nets: dict[str, nn.Module] = {}
    for name, child in module.named_children():
        if getattr(child.forward, "__func__", None) is nn.Module.forward:
            nets |= {f"{name}.{member}": inner for member, inner in nets_of(child, child).items()}
        elif any(True for _ in child.parameters()) and any(True for _ in child.children()):
            nets[name] = child
    return nets


def _chains(calls: list[_Call]) -> list[list[_Call]]:
    """Split calls into passes: all calls are one pass, unless a net is called twice."""
    if max(Counter(call.net for call in calls).values(), default=0) < 2:
        return [calls] if calls else []
    chains: list[list[_Call]] = []
    for call in calls:
        open_chains = [chain for chain in chains if all(call.net != earlier.net for earlier in chain)]
        feeding = [chain for chain in open_chains if any(call.inputs & earlier.outputs for earlier in chain)]
        if (not feeding and call.differentiable) or [earlier.net for chain in chains for earlier in chain] == [""]:
            feeding = open_chains[-1:]
        if feeding:
            feeding[0].append(call)
        else:
            chains.append([call])
    return chains


def _memory(tensors: Iterator[Tensor] | Sequence[Tensor]) -> frozenset[int]:
    return frozenset(tensor.untyped_storage().data_ptr() for tensor in tensors)
