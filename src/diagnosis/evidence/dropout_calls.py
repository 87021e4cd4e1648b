"""Watch how much dropout a forward pass applies, and where."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from start_training.lengths.activation_functions import function_name
from start_training.lengths.modules import modules_by_name

_NAMES = "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout"
DROPOUTS = frozenset(_NAMES.split())


class DropoutCalls(TorchFunctionMode):
    """Context manager that records the probabilities of all dropout that is active.

    Args:
        net: The net; its modules get hooks, which are removed at the end.

    Attributes:
        probabilities: The largest probability by the name of the module that applies it.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        >>> with DropoutCalls(net) as calls:
        ...     _ = net(torch.zeros(1, 2))
        >>> calls.probabilities
        {'1': 0.5}
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.probabilities: dict[str, float] = {}
        self._running: list[str] = []
        self._handles: list[Any] = []
        for name, module in modules_by_name(net).items():
            self._handles.append(module.register_forward_pre_hook(self._enter(name)))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function_name(function) in DROPOUTS:
            given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
            name = self._running[-1] if self._running else ""
            if given.get("training", given.get("train", True)):
                self.probabilities[name] = max(float(given.get("p", 0.5)), self.probabilities.get(name, 0.0))
        return function(*args, **kwargs)

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda *_: self._running.append(name)
