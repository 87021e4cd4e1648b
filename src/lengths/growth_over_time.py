"""Measure how much the lengths of a recurrent module grow from the first time step of a sequence to the last one."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from start_training.lengths.activation_functions import RECURRENT_MODULES
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.forward_trace import is_backward
from start_training.lengths.modules import modules_by_name


class GrowthOverTime:
    """Hooks on the recurrent modules of a net that measure the output at the first and the last time step.

    The growth is the mean length over the samples at the last step, divided by that at the first one. A recurrent cell,
    which is called once per step, is measured over its calls from `start` to `stop`. Packed sequences, whose samples
    end at different steps, are not measured.

    Args:
        net: Any module.

    Example:
        >>> import torch
        >>> class Doubles(nn.RNN):
        ...     def forward(self, inputs):
        ...         return inputs * 2.0 ** torch.arange(4).reshape(4, 1, 1)  # (steps, samples, units)
        >>> growth = GrowthOverTime(Doubles(3, 3))
        >>> growth.start()
        >>> _ = growth.net(torch.ones(4, 5, 3))
        >>> growth.stop()
        {'Doubles': 64.0}
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self._active = False
        self._ends: dict[str, list[Tensor]] = {}  # outputs of the first and the last step
        self._handles = [
            module.register_forward_hook(partial(self._read, name))
            for name, module in modules_by_name(net).items()
            if isinstance(module, RECURRENT_MODULES)
        ]

    @property
    def measures(self) -> bool:
        """Whether the net has recurrent modules."""
        return bool(self._handles)

    def start(self) -> None:
        """Start measuring."""
        self._active, self._ends = True, {}

    def stop(self) -> dict[str, float]:
        """Stop measuring, and return the growth by the name of the module."""
        self._active = False
        ends, self._ends = self._ends, {}
        lengths = {name: [activation_lengths(step).mean().item() for step in steps] for name, steps in ends.items()}
        return {name: last / first if first else float("nan") for name, (first, last) in lengths.items()}

    def remove(self) -> None:
        """Remove the hooks from the net."""
        for handle in self._handles:
            handle.remove()

    def _read(self, name: str, module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
        if not self._active or is_backward():
            return
        output = output if isinstance(output, Tensor | PackedSequence) else output[0]
        if isinstance(output, PackedSequence):
            return
        output = output.detach()
        if isinstance(module, nn.RNNCellBase):
            self._ends[name] = [self._ends.get(name, [output])[0], output]
        elif output.dim() == 3:
            axis = 1 if module.batch_first else 0
            self._ends[name] = [output.select(axis, 0), output.select(axis, -1)]
        else:  # one sample, without an axis of samples
            self._ends[name] = [output[:1], output[-1:]]
