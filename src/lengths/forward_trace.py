"""Record which modules and activation functions run in forward passes, and which of them feed which others."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from start_training.lengths.activation_functions import ACTIVATION_FUNCTIONS, GATES, function_name
from start_training.lengths.call import Call
from start_training.lengths.modules import has_weights, modules_by_name

# Functions by which a residual connection may pass its input on: they add, reorder, normalize or select values.
_PASSING_NAMES = (
    "add sub radd rsub iadd isub cat concat concatenate stack view view_as reshape reshape_as transpose permute "
    "flatten unflatten squeeze unsqueeze contiguous clone to float double half bfloat16 type type_as get getitem "
    "chunk split tensor_split unbind narrow select expand expand_as movedim moveaxis swapaxes roll pad detach "
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout layer_norm "
    "rms_norm group_norm batch_norm instance_norm masked_fill index_select avg_pool1d avg_pool2d avg_pool3d "
    "max_pool1d max_pool2d max_pool3d adaptive_avg_pool2d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices interpolate"
)
_PASSING = frozenset(_PASSING_NAMES.split()) | (ACTIVATION_FUNCTIONS - GATES)
_SCALING_NAMES = "mul rmul imul multiply div truediv itruediv divide neg"
_SCALING = frozenset(_SCALING_NAMES.split())
_RANDOM_NAMES = "bernoulli normal poisson rand randint randn rand_like randint_like randn_like uniform"
_RANDOM = frozenset(_RANDOM_NAMES.split())
_BATCH = 1  # the bit of the batch


class _Origin(NamedTuple):
    """Where a tensor comes from.

    Attributes:
        reach: Calls and weights that it depends on.
        passed: Calls whose inputs, and weights whose outputs, reach it without multiplication by further weights.
        weight: Whether it depends on parameters only.
        gate: The call of the function that computed it, if it may be a gate.
    """

    reach: int = 0
    passed: int = 0
    weight: bool = False
    gate: Call | None = None


class ForwardTrace(TorchFunctionMode):
    """Context manager that records the calls of a net's modules and of activation functions.

    The net may be called, or only its modules. Autograd graphs are not needed, and no tensor is kept.

    Args:
        net: The net; its modules get hooks.
        batch: Tensors in nested containers that the passes begin with.
        on_output: Called with each call, its output and its inputs.

    Attributes:
        calls: All calls in the order in which they began.
        weights: The bit of each module that has weights itself, by the module's name.
        used: The bits of those whose weights were an argument of a function.
        multiplied: The bits of those whose weights multiplied an activation.
        before_weights: The bits of all calls and weights on which such an activation depends.
        branches: For each residual branch that is added, the bits of the modules with weights that end it.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> trace = ForwardTrace(net)
        >>> with trace:
        ...     _ = net(torch.ones(1, 2))
        >>> trace.remove()
        >>> [call.name for call in trace.calls]
        ['', '0', '1', '1.F.relu', '2']
        >>> bool(trace.calls[4].inputs & trace.calls[1].bit), bool(trace.calls[1].inputs & trace.calls[4].bit)
        (True, False)
    """

    def __init__(
        self, net: nn.Module, batch: Any = None, on_output: Callable[[Call, Any, Any], None] | None = None
    ) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.weights: dict[str, int] = {}
        self.multiplied = self.used = self.before_weights = 0
        self.branches: list[int] = []
        self._on_output = on_output
        self._running: list[Call] = []
        self._bits = 1  # the first bit is that of the batch
        self._origins = WeakTensorKeyDictionary()
        self._parameters: dict[int, _Origin] = {}
        self._handles: list[Any] = []
        self._root = next(iter(modules_by_name(net)))
        for name, module in modules_by_name(net).items():
            if has_weights(module) and ".parametrizations." not in name:
                self.weights[name] = self._next_bit()
            self._handles.append(module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
        for name, parameter in net.named_parameters():
            name = name.replace("_orig_mod.", "")
            owner = name.split(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
            bit = self.weights.get(owner or self._root, 0) if parameter.dim() > 1 else 0
            self._parameters[id(parameter)] = _Origin(bit, weight=True)
        for buffer in net.buffers():
            self._parameters[id(buffer)] = _Origin()
        self.follow(batch)

    def follow(self, batch: Any) -> None:
        """Follow the tensors of a further batch."""
        for tensor in tensors_in(batch):
            self._origins[tensor] = _Origin(_BATCH)

    def reach_of(self, tensor: Tensor) -> int:
        """Return the bits of the calls and weights that a tensor, such as a loss, depends on; 0 if it is unknown."""
        known = self._origins.get(tensor)
        return 0 if known is None else known.reach

    def remove(self) -> None:
        """Remove the hooks from the net."""
        for handle in self._handles:
            handle.remove()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        name = function_name(function)
        outputs = [args[0]] if name == "setitem" else [*tensors_in(output)]
        if outputs and not is_backward():
            self._follow(name, [*tensors_in((args, kwargs))], outputs)
        return output

    def _follow(self, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Compute where the outputs of a function come from."""
        if not inputs:  # a constant, as of torch.arange; or random inputs, which count as a batch
            for tensor in outputs:
                self._origins[tensor] = _Origin(_BATCH if name in _RANDOM else 0)
            return
        origins = [(self._origin(tensor), tensor.dim()) for tensor in inputs]
        data = [origin for origin, _ in origins if not origin.weight]
        reach = 0
        for origin, _ in origins:
            reach |= origin.reach
            self.used |= origin.reach if origin.weight else 0
        if not data:
            result = _Origin(reach | (_BATCH if name in _RANDOM else 0), weight=name not in _RANDOM)
        else:
            passed, multiplies = 0, any(origin.weight and axes > 1 for origin, axes in origins)
            if name in _PASSING or (name in _SCALING and len(data) == 1 and not multiplies):
                for origin in data:
                    passed |= origin.passed
                if name in ("add", "radd", "iadd") and len(data) == 2:
                    self._add_branch(*data)
            elif multiplies:
                for origin, axes in origins:
                    self.multiplied |= origin.reach if origin.weight and axes > 1 else 0
                for origin in data:
                    self.before_weights |= origin.reach
            if name in _SCALING and len(data) > 1:
                for origin in data:
                    if origin.gate is not None:
                        origin.gate.gate = True
            result = _Origin(reach | (_BATCH if name in _RANDOM else 0), passed)
        if self._running:
            self._running[-1].functions.add(name)
        if name in ACTIVATION_FUNCTIONS and data and outputs[0].is_floating_point():
            result = self._function_call(name, result, outputs[0], inputs)
        elif self._running and any(origin.reach for origin in data):
            self._running[-1].transforms.add(name)
        for tensor in outputs:
            self._origins[tensor] = result

    def _add_branch(self, one: _Origin, other: _Origin) -> None:
        stream, branch = (one, other) if one.reach & ~other.reach == 0 else (other, one)
        ends = branch.passed & ~stream.passed & sum(self.weights.values())
        if stream.reach & ~branch.reach == 0 and ends:
            self.branches.append(ends)

    def _function_call(self, name: str, origin: _Origin, output: Tensor, inputs: list[Tensor]) -> _Origin:
        parent = self._running[-1] if self._running else None
        prefix = f"{parent.name}." if parent is not None and parent.name else ""
        call = Call(f"{prefix}F.{name}", self._next_bit(), None, parent, origin.reach)
        call.outputs, call.depends_on_batch = origin.reach | call.bit, bool(origin.reach & _BATCH)
        if parent is not None and origin.reach:
            parent.transforms.add(name)
        self.calls.append(call)
        if self._on_output is not None:
            self._on_output(call, output, inputs)
        return _Origin(call.outputs, origin.passed, gate=call if name in GATES else None)

    def _enter(self, name: str, module: nn.Module, inputs: Any, by_name: dict[str, Any]) -> None:
        if is_backward():
            return
        call = Call(name, self._next_bit(), module, self._parent(), 0)
        for tensor in tensors_in((inputs, by_name)):
            origin = self._origin(tensor)
            if call.shape is None and tensor.is_floating_point():
                call.shape = tuple(tensor.shape)
            call.inputs |= origin.reach
            if not origin.weight:
                self._origins[tensor] = origin._replace(passed=origin.passed | call.bit)
        self.calls.append(call)
        self._running.append(call)

    def _leave(self, module: nn.Module, inputs: Any, by_name: dict[str, Any], output: Any) -> None:
        if is_backward() or not any(call.module is module for call in self._running):
            return
        while (call := self._running.pop()).module is not module:  # calls that an exception has ended
            continue
        own = call.bit | self.weights.get(call.name, 0)
        call.outputs |= own
        for tensor in tensors_in(output):
            known = self._origins.get(tensor)
            origin = known if known is not None else _Origin(call.inputs)
            call.residual = call.residual or bool(origin.passed & call.bit)
            call.outputs |= origin.reach
            passed = origin.passed | self.weights.get(call.name, 0)  # its outputs, beside inputs of calls
            self._origins[tensor] = origin._replace(reach=origin.reach | own, passed=passed, gate=None)
        call.depends_on_batch = bool(call.outputs & _BATCH)
        if self._on_output is not None:
            self._on_output(call, output, (inputs, by_name))

    def _parent(self) -> Call | None:
        return self._running[-1] if self._running else None

    def _origin(self, tensor: Tensor) -> _Origin:
        """Return the origin of a tensor; one of unknown origin may depend on the inputs of the module that runs."""
        known = self._origins.get(tensor)
        known = self._parameters.get(id(tensor)) if known is None else known
        return known if known is not None else _Origin(self._running[-1].inputs if self._running else _BATCH)

    def _next_bit(self) -> int:
        self._bits += 1
        return 1 << (self._bits - 1)


def is_backward() -> bool:
    """Return whether a backward pass is running, in which gradient checkpointing calls layers a second time."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists and mappings."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping | list | tuple):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from tensors_in(value)
