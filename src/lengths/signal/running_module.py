"""A mode in which the functions of torch are seen, together with the module that calls them."""

from functools import partial
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from start_training.lengths.modules import modules_by_name


class RunningModule(TorchFunctionMode):
    """Context manager that knows which module of a net is running; a subclass sees the functions that it calls.

    Args:
        net: The net; its modules get hooks, which are removed at the end.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._names: list[str] = []
        self._hooks: list[Any] = []
        for name, module in modules_by_name(net).items():
            self._hooks.append(module.register_forward_pre_hook(partial(self._enter, name)))
            self._hooks.append(module.register_forward_hook(self._leave, always_call=True))

    @property
    def running(self) -> str:
        """Name of the innermost module that is running; empty outside all modules."""
        return self._names[-1] if self._names else ""

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)

    def _enter(self, name: str, *_: Any) -> None:
        self._names.append(name)

    def _leave(self, *_: Any) -> None:
        if self._names:
            self._names.pop()
