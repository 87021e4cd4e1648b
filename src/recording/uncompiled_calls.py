"""Run the compiled modules of a net uncompiled for a while."""

from typing import Any

import torch
from torch import nn


class UncompiledCalls:
    """Between `begin` and `end`, modules that `torch.compile` has compiled run uncompiled, if the net has any.

    Example:
        >>> calls = UncompiledCalls(nn.Linear(2, 2))
        >>> calls.begin(), calls.end()  # nothing is compiled: no effect
        (None, None)
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._stance: Any = None

    @property
    def compiled(self) -> bool:
        """Whether the net has compiled modules."""
        return any(hasattr(module, "_orig_mod") or module._compiled_call_impl for module in self._net.modules())

    def begin(self) -> None:
        """Run compiled modules uncompiled from now on."""
        if self.compiled and self._stance is None:
            self._stance = torch.compiler.set_stance("force_eager")

    def end(self) -> None:
        """Run them as before."""
        if self._stance is not None:
            self._stance.__exit__(None, None, None)
            self._stance = None
