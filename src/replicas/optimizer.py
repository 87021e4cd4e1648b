"""One optimizer step for a whole group, in which replicas may differ in rate, momentum, betas and weight decay."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from start_training.replicas.replica import Replica

OPTIMIZERS = (SGD, Adam, AdamW)  # exactly these classes, whose arithmetic is implemented here


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


Part = tuple[slice, slice]  # rows of replicas, and columns of parameters
ALL: Part = (slice(None), slice(None))


class StackedOptimizer(ABC):
    """torch's optimizer of the same name for many nets: it updates each row of parameters (R, P).

    Attributes:
        group: torch's parameter group of any replica, of which the settings that all share are read.
        steps: The number of steps begun.
        states: The optimizer's states by their names in torch, (R, P) each, zero at first.
    """

    def __init__(self, group: Mapping[str, Any], parameters: Tensor, names: Sequence[str], *, steps: int = 0) -> None:
        self.group, self.steps = dict(group), steps
        self.states = {name: torch.zeros_like(parameters) for name in names}

    def step_(self, parameters: Tensor, gradients: Tensor, settings: StepSettings, part: Part = ALL) -> None:
        """Update a part of the parameters (R, P) in place, given its gradients, which are overwritten, and settings.

        On a CPU, parts that fit into its caches take less time one after the other than all at once.
        """
        self._update_(parameters[part], gradients, {name: each[part] for name, each in self.states.items()}, settings)

    @abstractmethod
    def _update_(
        self, parameters: Tensor, gradients: Tensor, states: dict[str, Tensor], settings: StepSettings
    ) -> None:
        """Do the step number `steps` in place; all tensors have the shape of the parameters."""

    def keep(self, rows: Tensor) -> None:
        """Drop all other replicas."""
        self.states = {name: state.index_select(0, rows) for name, state in self.states.items()}

    def export(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]], steps: int) -> None:
        """Give a replica's optimizer its states after so many steps, one tensor for each parameter."""
        for index, parameter in enumerate(_trained(optimizer)):
            step = {} if isinstance(optimizer, SGD) else {"step": torch.tensor(float(steps))}
            optimizer.state[parameter] = step | {name: parts[index] for name, parts in states.items()}

    def load(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]]) -> None:
        """Copy the states of a replica's optimizer into its part of the states."""
        for name, parts in states.items():
            for parameter, part in zip(_trained(optimizer), parts, strict=True):
                held = optimizer.state.get(parameter, {}).get(name)
                if held is not None:
                    part.copy_(held)


class StackedSGD(StackedOptimizer):
    """v ← alpha v + (1 − dampening) g, v = g in the first step, where g has weight_decay · w added; w ← w − eta v."""

    def __init__(self, group: Mapping[str, Any], parameters: Tensor, *, steps: int = 0) -> None:
        super().__init__(group, parameters, ["momentum_buffer"], steps=steps)

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
            if dampening := self.group["dampening"]:  # only with momentum: without, torch dampens nothing
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
        names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
        super().__init__(group, parameters, names, steps=steps)

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
        if settings.decaying and self.group["decoupled_weight_decay"]:
            parameters.mul_(shrinkage)
        elif settings.decaying:
            gradients.addcmul_(parameters, settings.weight_decay)
        mean, square = states["exp_avg"], states["exp_avg_sq"]
        mean.lerp_(gradients, new.expand_as(mean))
        square.mul_(settings.beta2).add_(gradients.square_().mul_(kept))
        if self.group["amsgrad"]:
            square = torch.maximum(states["max_exp_avg_sq"], square, out=states["max_exp_avg_sq"])
        root = torch.sqrt(square, out=gradients).div_(correction).add_(self.group["eps"])
        parameters.addcmul_(torch.div(mean, root, out=root), rate, value=-1)


def stacked(optimizer: Optimizer, parameters: Tensor, *, steps: int = 0) -> StackedOptimizer:
    """The optimizer of parameters (R, P), whose class and shared settings are those of a replica's optimizer."""
    assert type(optimizer) in OPTIMIZERS
    kind = StackedSGD if isinstance(optimizer, SGD) else StackedAdam
    return kind(optimizer.param_groups[0], parameters, steps=steps)


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
    """Its parameters without frozen ones, for which a stack has no columns."""
    return [each for each in optimizer.param_groups[0]["params"] if each.requires_grad]
