"""One optimizer step for a whole group, each replica at its own rate, momentum and weight decay."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from start_training.replicas.replica import Replica

OPTIMIZERS = (SGD, Adam, AdamW)  # exactly these, whose arithmetic stands here


class StepSettings(NamedTuple):
    """The settings of a step of all replicas, (R, 1) each, in float64.

    Attributes:
        momentum: SGD's, or Adam's beta1.
        moving: Whether any replica has momentum; without, its arithmetic is skipped.
        decaying: Whether any replica has weight decay.
    """

    rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    beta2: Tensor
    moving: bool = True
    decaying: bool = True

    def map(self, change: Callable[[Tensor], Tensor]) -> "StepSettings":
        """The settings with every tensor changed."""
        rate, momentum, weight_decay, beta2 = map(change, self[:4])
        return StepSettings(rate, momentum, weight_decay, beta2, self.moving, self.decaying)


Part = tuple[slice, slice]  # of the replicas, and of their parameters
ALL: Part = (slice(None), slice(None))


class StackedOptimizer(ABC):
    """What torch's optimizer of the same name does to one net's parameters, to each row of (R, P).

    states: by the names that torch gives them, (R, P) each, zero at first; group: the settings that all replicas
    share (torch's parameter group of any of them); steps: how many have been begun, by all of them.
    """

    names: ClassVar[tuple[str, ...]]

    def __init__(self, group: Mapping[str, Any], parameters: Tensor, *, steps: int = 0) -> None:
        self.group = dict(group)
        self.steps = steps
        self.states = {name: torch.zeros_like(parameters) for name in self._names()}

    def begin(self) -> None:
        """The next step, of all replicas."""
        self.steps += 1

    def step_(self, parameters: Tensor, gradients: Tensor, settings: StepSettings, part: Part = ALL) -> None:
        """Move a part of the parameters (R, P), in place. gradients, settings: that part's; the former are overwritten.

        Parts that fit into a CPU's caches, one after the other, take less time than all at once.
        """
        self._update_(parameters[part], gradients, {name: each[part] for name, each in self.states.items()}, settings)

    @abstractmethod
    def _update_(
        self, parameters: Tensor, gradients: Tensor, states: dict[str, Tensor], settings: StepSettings
    ) -> None:
        """In place, of tensors of one shape; in the step that has been begun."""

    def _names(self) -> tuple[str, ...]:
        return self.names

    def keep(self, rows: Tensor) -> None:
        """Let the other replicas go."""
        self.states = {name: state.index_select(0, rows) for name, state in self.states.items()}

    def export(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]], steps: int) -> None:
        """Make a replica's own optimizer hold these states, a tensor for each parameter, after so many steps."""
        for index, parameter in enumerate(_trained(optimizer)):
            optimizer.state[parameter] = {**self._more(steps), **{name: parts[index] for name, parts in states.items()}}

    def load(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]]) -> None:
        """Copy what a replica's own optimizer holds into its part of the states."""
        for name, parts in states.items():
            for parameter, part in zip(_trained(optimizer), parts, strict=True):
                held = optimizer.state.get(parameter, {}).get(name)
                if held is not None:
                    part.copy_(held)

    def _more(self, steps: int) -> dict[str, Any]:
        return {}


class StackedSGD(StackedOptimizer):
    """v ← alpha v + (1 − dampening) g, v = g in the first step, where g has weight_decay · w added; w ← w − eta v."""

    names = ("momentum_buffer",)

    def _update_(
        self, parameters: Tensor, gradients: Tensor, states: dict[str, Tensor], settings: StepSettings
    ) -> None:
        settings = settings.map(lambda column: column.to(parameters.dtype))
        if self.group["maximize"]:
            gradients.neg_()
        if settings.decaying:
            gradients.addcmul_(parameters, settings.weight_decay)
        step = self._moved_(gradients, states["momentum_buffer"], settings) if settings.moving else gradients
        parameters.addcmul_(step, settings.rate, value=-1)

    def _moved_(self, gradients: Tensor, velocity: Tensor, settings: StepSettings) -> Tensor:
        if self.steps > 1:
            velocity.mul_(settings.momentum)
            if dampening := self.group["dampening"]:  # of momentum alone: without it, torch dampens nothing
                velocity.addcmul_(gradients, 1 - dampening * settings.momentum.sign())
            else:
                velocity.add_(gradients)
        else:
            velocity.copy_(gradients)
        return gradients.addcmul_(velocity, settings.momentum) if self.group["nesterov"] else velocity

    def export(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]], steps: int) -> None:
        if optimizer.param_groups[0]["momentum"]:  # without it, torch keeps none
            super().export(optimizer, states, steps)


class StackedAdam(StackedOptimizer):
    """m ← beta1 m + (1 − beta1) g, v ← beta2 v + (1 − beta2) g², w ← w − eta m̂ / (√v̂ + eps).

    m̂ = m / (1 − beta1^t), v̂ = v / (1 − beta2^t). Weight decay is added to g, or `decoupled`, as in AdamW, first taken
    off w as eta · weight_decay · w. Source: Kingma & Ba 2015; Loshchilov & Hutter 2019; torch's order of operations.
    """

    def __init__(self, group: Mapping[str, Any], parameters: Tensor, *, steps: int = 0) -> None:
        self._amsgrad = bool(group["amsgrad"])
        super().__init__(group, parameters, steps=steps)
        self._decoupled = bool(group["decoupled_weight_decay"])  # AdamW's, and Adam's on request

    def _update_(
        self, parameters: Tensor, gradients: Tensor, states: dict[str, Tensor], settings: StepSettings
    ) -> None:
        rate = (settings.rate / (1 - settings.momentum**self.steps)).to(parameters.dtype)
        correction = (1 - settings.beta2**self.steps).sqrt().to(parameters.dtype)
        shrinkage = (1 - settings.rate * settings.weight_decay).to(parameters.dtype)
        kept, new = (1 - settings.beta2).to(parameters.dtype), (1 - settings.momentum).to(parameters.dtype)
        settings = settings.map(lambda column: column.to(parameters.dtype))
        if self.group["maximize"]:
            gradients.neg_()
        if settings.decaying and self._decoupled:
            parameters.mul_(shrinkage)
        elif settings.decaying:
            gradients.addcmul_(parameters, settings.weight_decay)
        mean, square = states["exp_avg"], states["exp_avg_sq"]
        mean.lerp_(gradients, new.expand_as(mean))
        square.mul_(settings.beta2).add_(gradients.square_().mul_(kept))
        if self._amsgrad:
            square = torch.maximum(states["max_exp_avg_sq"], square, out=states["max_exp_avg_sq"])
        root = torch.sqrt(square, out=gradients).div_(correction).add_(self.group["eps"])
        parameters.addcmul_(torch.div(mean, root, out=root), rate, value=-1)

    def _names(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if self._amsgrad else ()))

    def _more(self, steps: int) -> dict[str, Any]:
        return {"step": torch.tensor(float(steps))}


def stacked(optimizer: Optimizer, parameters: Tensor, *, steps: int = 0) -> StackedOptimizer:
    """For replicas whose own optimizers are like this one, rates, momenta and weight decays aside."""
    group = optimizer.param_groups[0]
    assert type(optimizer) in OPTIMIZERS
    if isinstance(optimizer, SGD):
        return StackedSGD(group, parameters, steps=steps)
    return StackedAdam(group, parameters, steps=steps)


class EpochSettings:
    """The settings of all steps of an epoch, copied to the device at once: no step waits for it."""

    def __init__(self, replicas: Sequence[Replica], steps: range) -> None:
        self._scheduled = replicas[0].schedule is not None
        self._first = steps.start
        steps = steps if self._scheduled else steps[:1]
        self._settings = _settings_of(replicas, steps)
        self._moving = [any(replica.momentum(step) for replica in replicas) for step in steps]

    def at(self, step: int) -> StepSettings:
        """The settings of a step of the epoch."""
        row = step - self._first if self._scheduled else 0
        return self._settings.map(lambda column: column[row])._replace(moving=self._moving[row])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other replicas."""
        index = torch.tensor(list(rows), device=self._settings.rate.device)
        self._settings = self._settings.map(lambda column: column.index_select(1, index))


def _settings_of(replicas: Sequence[Replica], steps: range) -> StepSettings:
    """(steps, R, 1) each."""
    groups = [replica.optimizer.param_groups[0] for replica in replicas]
    device = groups[0]["params"][0].device
    rates = [[replica.rate(step) for replica in replicas] for step in steps]
    momenta = [[replica.momentum(step) for replica in replicas] for step in steps]
    decays = [[float(group["weight_decay"]) for group in groups]] * len(steps)
    betas = [[float(group["betas"][1]) if "betas" in group else 0.0 for group in groups]] * len(steps)
    rate, momentum, decay, beta2 = (torch.tensor(rows, dtype=torch.float64) for rows in (rates, momenta, decays, betas))
    settings = StepSettings(rate, momentum, decay, beta2, decaying=bool(decay.any()))
    return settings.map(lambda column: column.unsqueeze(2).to(device))


def _trained(optimizer: Optimizer) -> list[Tensor]:
    """Its parameters, without those that are frozen, of which a stack has no rows."""
    return [each for each in optimizer.param_groups[0]["params"] if each.requires_grad]
