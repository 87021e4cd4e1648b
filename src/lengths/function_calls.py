"""Observe the calls of activation functions, such as `F.relu`, in the modules of a net."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from start_training.lengths.activation_functions import ACTIVATION_FUNCTIONS, function_name
from start_training.lengths.forward_trace import is_backward
from start_training.lengths.modules import modules_by_name


class FunctionCalls(TorchFunctionMode):
    """Mode in which each call of an activation function is reported, with the name of the module that calls it.

    Entering it adds a microsecond to each call of a torch function. Functions that `torch.compile` has compiled are not
    seen.

    Args:
        net: The net.
        callers: Names of the modules that call activation functions; they get hooks.
        on_call: Called with the name of the layer, as `layers.0.F.relu`, the output and the inputs.
    """

    def __init__(self, net: nn.Module, callers: Collection[str], on_call: Callable[[str, Tensor, Any], None]) -> None:
        super().__init__()
        self._running: list[str] = []
        self._on_call = on_call
        self._handles: list[Any] = []
        for name, module in modules_by_name(net).items():
            if name in callers:
                self._handles.append(module.register_forward_pre_hook(partial(self._enter, name)))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        if function_name(function) in ACTIVATION_FUNCTIONS and isinstance(output, Tensor) and not is_backward():
            owner = f"{self._running[-1]}." if self._running and self._running[-1] else ""
            self._on_call(f"{owner}F.{function_name(function)}", output, args)
        return output

    def remove(self) -> None:
        """Remove the hooks from the net."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        if not is_backward():
            self._running.append(name)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._running and not is_backward():
            self._running.pop()
