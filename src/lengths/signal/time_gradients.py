"""Measure how gradients grow or vanish through the time steps of recurrent modules."""

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from start_training.lengths.call import Call
from start_training.lengths.capture import first_tensor
from start_training.lengths.forward_trace import ForwardTrace
from start_training.lengths.modules import has_weights

FEWEST = 5  # calls of one module that feed each other, from which on they count as time steps


class TimeGradient(NamedTuple):
    """How a gradient changes from the last time step of a recurrent module back to its first.

    Attributes:
        name: Name of the module.
        steps: Number of time steps.
        growth: log(G_first / G_last) of squared gradients, in nats; −∞ if none arrives, +∞ if it is not finite.
    """

    name: str
    steps: int
    growth: float


class TimeGradients:
    """Context manager that keeps what recurrent modules take and return in a forward pass, for `measure` to use.

    Recurrent modules are `nn.RNN`, `nn.LSTM` and `nn.GRU`, and any module with weights that is called at least
    `FEWEST` times, each time with inputs that depend on its previous call, such as a cell.

    Args:
        net: The net, which gets hooks.

    Example:
        >>> net = nn.RNN(2, 8, batch_first=True)
        >>> with TimeGradients(net) as gradients:
        ...     _ = net(torch.zeros(4, 300, 2))
        >>> [gradient] = gradients.measure(Generator().manual_seed(0))
        >>> gradient.steps, gradient.growth < -100
        (300, True)
    """

    def __init__(self, net: nn.Module) -> None:
        self._trace = ForwardTrace(net, on_output=self._keep)
        self._calls = defaultdict[str, list[tuple[Call, Any, Any]]](list)

    def __enter__(self) -> "TimeGradients":
        self._trace.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._trace.__exit__(*error)
        self._trace.remove()

    def measure(self, generator: Generator) -> list[TimeGradient]:
        """Measure all recurrent modules, after a pass with autograd.

        Args:
            generator: Of the random cotangent of what a module returns for the last time step.
        """
        results = []
        for name, calls in self._calls.items():
            module = calls[0][0].module
            if isinstance(module, nn.RNNBase):
                results += [_of_sequence(name, module, inputs, generator) for _, inputs, _ in calls[:1]]
            chain = [output for call, _, output in _chain(calls)]
            fewest = 2 if isinstance(module, nn.RNNBase) else FEWEST
            if len(chain) >= fewest and not self._inside(name, fewest):
                results.append(_of_calls(name, chain, generator))
        return [result for result in results if result is not None]

    def _inside(self, name: str, fewest: int) -> bool:
        """Return whether a module is inside another one that is called as often."""
        around = [other for other in self._calls if name.startswith(f"{other}.")]
        return any(len(_chain(self._calls[other])) >= fewest for other in around)

    def _keep(self, call: Call, output: Any, inputs: Any) -> None:
        if call.module is not None and any(has_weights(module) for module in call.module.modules()):
            self._calls[call.name].append((call, inputs, output))


def _chain(calls: list[tuple[Call, Any, Any]]) -> list[tuple[Call, Any, Any]]:
    """Return the calls that depend on the previous one, and the first."""
    return calls[:1] + [later for before, later in pairwise(calls) if later[0].inputs & before[0].bit]


def _of_sequence(name: str, module: nn.RNNBase, inputs: Any, generator: Generator) -> TimeGradient | None:
    """Measure `nn.RNN`, `nn.LSTM` or `nn.GRU` by passing its inputs again."""
    sequence = inputs[0][0] if inputs[0] else None
    if isinstance(sequence, PackedSequence):
        sequence = pad_packed_sequence(sequence, batch_first=module.batch_first)[0]
    if not isinstance(sequence, Tensor) or sequence.dim() < 2:
        return None
    time = 1 if module.batch_first and sequence.dim() == 3 else 0
    if sequence.shape[time] < 2:
        return None
    sequence = sequence.detach().clone().requires_grad_()
    output = module(sequence)[0].select(time, -1)
    if module.bidirectional:  # at the last step only the forward direction has seen the first one
        output = output.chunk(2, -1)[0]
    cotangent = torch.randn(output.shape, generator=generator).to(output)
    [gradient] = torch.autograd.grad(output, [sequence], cotangent)
    steps = gradient.movedim(time, 0)
    return TimeGradient(name, len(steps), _growth(steps[0], steps[-1]))


def _of_calls(name: str, outputs: list[Any], generator: Generator) -> TimeGradient | None:
    """Measure a module that is called once for each time step."""
    first, last = first_tensor(outputs[0]), first_tensor(outputs[-1])
    if first is None or last is None or not last.requires_grad:
        return None
    cotangent = torch.randn(last.shape, generator=generator).to(last)
    earlier = [first] if first.requires_grad else []
    gradients = torch.autograd.grad(last, earlier, cotangent, retain_graph=True, allow_unused=True) if earlier else ()
    gradient = gradients[0] if gradients and gradients[0] is not None else torch.zeros_like(first)
    return TimeGradient(name, len(outputs), _growth(gradient, cotangent))


def _growth(first: Tensor, last: Tensor) -> float:
    """Return the logarithm of the ratio of squared norms, which are computed without overflow."""
    if not (first.isfinite().all() and last.isfinite().all()):
        return math.inf
    logs = [_log_norm(tensor.detach().double()) for tensor in (first, last)]
    return -math.inf if logs[0] == -math.inf else 2 * (logs[0] - logs[1])


def _log_norm(tensor: Tensor) -> float:
    largest = float(tensor.abs().max())
    return math.log(largest) + math.log(float((tensor / largest).norm())) if largest > 0 else -math.inf
