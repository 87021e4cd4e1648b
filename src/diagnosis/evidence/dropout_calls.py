"""Watch how much dropout a forward pass applies, and where."""

from typing import Any

from torch import nn

from start_training.lengths.activation_functions import function_name
from start_training.lengths.signal.running_module import RunningModule

_NAMES = "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout"
DROPOUTS = frozenset(_NAMES.split())


class DropoutCalls(RunningModule):
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
        super().__init__(net)
        self.probabilities: dict[str, float] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function_name(function) in DROPOUTS:
            given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
            name = self.running
            if given.get("training", given.get("train", True)):
                self.probabilities[name] = max(float(given.get("p", 0.5)), self.probabilities.get(name, 0.0))
        return function(*args, **kwargs)
