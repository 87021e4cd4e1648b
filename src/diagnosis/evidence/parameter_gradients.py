"""Which parameters of a net get a gradient, now or after the first steps, and which units stay equal to each other."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from start_training.diagnosis.trials.forward_batch import ForwardBatch
from start_training.diagnosis.trials.objective import Objective
from start_training.lengths.forward_trace import ForwardTrace
from start_training.streams import isolate_random_streams

STEPS = 2  # after which weights behind zeros, as of LoRA or of residual branches that begin at 0, have a gradient
RATE = 1e-3  # of these steps
EQUAL = 1e-5  # relative distance of rows of a weight below which they count as equal


@dataclass(frozen=True)
class ParameterGradients:
    """What happens to the trainable parameters of a net in its first steps.

    Attributes:
        trainable: Number of entries of all trainable parameters.
        moving: Share of them in tensors with a gradient that is neither 0 nor missing, in one of the first steps.
        detached: Parameters on whose values the loss depends and the gradient does not.
        unused: Parameters on which the loss does not depend.
        zero: Parameters whose gradient is exactly 0 in all of these steps.
        not_finite: Parameters with a gradient, or a value, that is infinite or NaN.
        symmetric: Weights most of whose units compute the same, and still do after these steps.
        update_sgd: Median over tensors of ‖gradient‖ / ‖weight‖, the relative size of a step of SGD at rate 1.
        update_adam: Median over tensors of √entries / ‖weight‖, the relative size of a step of Adam at rate 1.
    """

    trainable: int
    moving: float
    detached: tuple[str, ...]
    unused: tuple[str, ...]
    zero: tuple[str, ...]
    not_finite: tuple[str, ...]
    symmetric: tuple[str, ...]
    update_sgd: float
    update_adam: float


def parameter_gradients(net: nn.Module, batch: ForwardBatch, objective: Objective, *, seed: int) -> ParameterGradients:
    """Take `STEPS` steps of Adam with a copy of a net, and return which of its parameters get a gradient.

    Args:
        net: The net, in the precision in which it will be trained.
        batch: The batch.
        objective: The loss.
        seed: Seed of dropout and other noise.
    """
    net = copy.deepcopy(net)
    steps = _Steps({name: one for name, one in net.named_parameters() if one.requires_grad})
    trace = ForwardTrace(net, batch.inputs)
    with isolate_random_streams(torch.Generator().manual_seed(seed)), torch.enable_grad():
        with trace:
            loss = objective.loss(net, batch)
        trace.remove()
        reach = trace.reach_of(loss)
        for step in range(STEPS + 1):
            if not steps.take(loss, last=step == STEPS) or step == STEPS:
                break
            loss = objective.loss(net, batch)
    return steps.result(_live_weights(trace, steps.missing, reach))


class _Steps:
    """What is seen of the parameters in a few steps of Adam."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._updates = torch.optim.Adam(parameters.values(), RATE) if parameters else None
        self._equal = {name for name, one in parameters.items() if _are_equal(one, None)}
        self._broken = {name for name, one in parameters.items() if not one.isfinite().all()}
        self._reached = set[str]()
        self._ratios: list[float] | None = None
        self.missing = set(parameters)

    def take(self, loss: Tensor, *, last: bool) -> bool:
        """Pass a loss backward, note the gradients, and take a step; return whether that was possible."""
        if self._updates is None or not loss.requires_grad:
            return False
        self._updates.zero_grad()
        loss.backward()
        known = {name: _values(one.grad) for name, one in self._parameters.items() if one.grad is not None}
        self.missing -= set(known)
        self._broken |= {name for name, gradient in known.items() if not gradient.isfinite().all()}
        self._reached |= {name for name, gradient in known.items() if bool((gradient != 0).any())}
        if self._ratios is None:
            self._ratios = [_ratio(gradient, self._parameters[name]) for name, gradient in known.items()]
        if last:
            candidates = {name: self._parameters[name] for name in self._equal & self._reached}
            self._equal = {name for name, one in candidates.items() if _are_equal(one, one.grad)}
        self._updates.step()
        return not self._broken

    def result(self, live: set[str]) -> ParameterGradients:
        """Return what was seen.

        Args:
            live: Those of the parameters without gradient on which the loss depends.
        """
        parameters, missing, broken = self._parameters, self.missing, self._broken
        sizes = {name: one.numel() for name, one in parameters.items()}
        moving = sum(sizes[name] for name in self._reached) / max(sum(sizes.values()), 1)
        unreached = [name for name in parameters if name not in missing | self._reached | broken]
        return ParameterGradients(
            trainable=sum(sizes.values()),
            moving=moving,
            detached=tuple(name for name in parameters if name in missing & live),
            unused=tuple(name for name in parameters if name in missing - live),
            zero=tuple(unreached),
            not_finite=tuple(name for name in parameters if name in broken),
            symmetric=tuple(name for name in parameters if name in self._equal & self._reached and not broken),
            update_sgd=_median(self._ratios or []),
            update_adam=_median([one.numel() ** 0.5 / _norm(one) for one in parameters.values() if _norm(one) > 0]),
        )


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _norm(tensor: Tensor) -> float:
    return float(_values(tensor.detach()).double().norm())


def _ratio(gradient: Tensor, weight: Tensor) -> float:
    return _norm(gradient) / _norm(weight) if _norm(weight) > 0 else math.nan


def _median(values: list[float]) -> float:
    known = sorted(value for value in values if math.isfinite(value))
    return known[len(known) // 2] if known else math.nan


def _live_weights(trace: ForwardTrace, names: set[str], reach: int) -> set[str]:
    """Return those parameters on whose values the loss depends, or the output of the net if that is not known."""
    if not reach:
        root = trace.calls[0] if trace.calls and trace.calls[0].name == "" else None
        reach = root.outputs if root is not None else trace.used
    return {name for name in names if trace.weights.get(_owner(name), 0) & reach}


def _owner(name: str) -> str:
    name = name.replace("_orig_mod.", "")
    return name.split(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]


@torch.no_grad()
def _are_equal(weight: Tensor, gradient: Tensor | None) -> bool:
    """Return whether at least half of the rows of a weight, of those with a gradient, equal another one."""
    if weight.dim() < 2 or weight.shape[0] < 2 or weight[0].numel() < 2:
        return False
    rows = weight.flatten(1).double()
    if gradient is not None:
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        rows = rows[gradient.flatten(1).abs().amax(1) > 0]
    if len(rows) < 2:
        return False
    scale = float(rows.abs().max())
    if not math.isfinite(scale):
        return False
    distinct = (rows / (scale or 1.0) / EQUAL).round().unique(dim=0)
    return 2 * len(distinct) <= len(rows)
