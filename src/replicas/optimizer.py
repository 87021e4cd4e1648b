"""Optimizers that update all replicas of a group at once, with different rate, momentum and weight decay each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from start_training.replicas.replica import Replica

OPTIMIZERS = (SGD, Adam, AdamW)  # exactly these classes, without subclasses


class StepSettings(NamedTuple):
    """The optimizer settings of all replicas in one step; tensors have shape (R, 1) and dtype float64.

    Attributes:
        rate: The learning rates.
        momentum: SGD's momentum or Adam's beta1.
        weight_decay: The weight decays.
        beta2: Adam's beta2; 0 for SGD.
        has_momentum: Whether any replica has momentum; if not, its arithmetic is skipped.
        has_weight_decay: Whether any replica has weight decay; if not, its arithmetic is skipped.
    """

    rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    beta2: Tensor
    has_momentum: bool = True
    has_weight_decay: bool = True

    def map(self, change: Callable[[Tensor], Tensor]) -> "StepSettings":
        """Return these settings of the optimizer with a function applied to each tensor, such as the learning rates."""
        rate, momentum, weight_decay, beta2 = map(change, self[:4])
        return StepSettings(rate, momentum, weight_decay, beta2, self.has_momentum, self.has_weight_decay)


Part = tuple[slice, slice]  # rows of replicas, and columns of parameters
EVERYTHING: Part = (slice(None), slice(None))


class StackedOptimizer(ABC):
    """Base class of optimizers that update the parameters (R, P) of R replicas like torch's optimizer of that name.

    Args:
        group: A parameter group of any replica's optimizer; settings that all replicas share are read from it.
        parameters: The parameters of all replicas, shape (R, P).
        names: The names of the optimizer's states in torch.
        steps: The number of steps done.

    Attributes:
        steps: The number of steps begun.
        states: The optimizer's states by name, shape (R, P) each, initially zero.
    """

    def __init__(self, group: Mapping[str, Any], parameters: Tensor, names: Sequence[str], *, steps: int = 0) -> None:
        self.group, self.steps = dict(group), steps
        self.states = {name: torch.zeros_like(parameters) for name in names}

    def step_(self, parameters: Tensor, gradients: Tensor, settings: StepSettings, part: Part = EVERYTHING) -> None:
        """Update parameters in place. On a CPU, several parts that fit into the caches are faster than one large part.

        Args:
            parameters: The parameters of all replicas, shape (R, P).
            gradients: The gradients of the part; they are overwritten.
            settings: The settings of the part's replicas.
            part: The rows (replicas) and columns (parameters) to update.
        """
        self._update_(parameters[part], gradients, {name: state[part] for name, state in self.states.items()}, settings)

    @abstractmethod
    def _update_(
        self, parameters: Tensor, gradients: Tensor, states: dict[str, Tensor], settings: StepSettings
    ) -> None:
        """Update parameters in place in step number `self.steps`; gradients and states have their shape."""

    def keep(self, rows: Tensor) -> None:
        """Keep the states of the replicas with the given indices, and drop all others."""
        self.states = {name: state.index_select(0, rows) for name, state in self.states.items()}

    def export(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]], steps: int) -> None:
        """Write states into a replica's optimizer.

        Args:
            optimizer: The replica's optimizer.
            states: The replica's states by name, a tensor for each parameter.
            steps: The number of steps done.
        """
        for index, parameter in enumerate(_trained_parameters(optimizer)):
            step = {} if isinstance(optimizer, SGD) else {"step": torch.tensor(float(steps))}
            optimizer.state[parameter] = step | {name: parts[index] for name, parts in states.items()}

    def load(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]]) -> None:
        """Copy a replica's optimizer states into `states`, views of this optimizer's states for each parameter."""
        for name, views in states.items():
            for parameter, view in zip(_trained_parameters(optimizer), views, strict=True):
                state = optimizer.state.get(parameter, {}).get(name)
                if state is not None:
                    view.copy_(state)


class StackedSGD(StackedOptimizer):
    """torch's SGD for R replicas: v ← alpha v + (1 − dampening) g, w ← w − eta v.

    The gradient g includes weight_decay · w. In the first step v = g.
    """

    def __init__(self, group: Mapping[str, Any], parameters: Tensor, *, steps: int = 0) -> None:
        super().__init__(group, parameters, ["momentum_buffer"], steps=steps)

    def _update_(
        self, parameters: Tensor, gradients: Tensor, states: dict[str, Tensor], settings: StepSettings
    ) -> None:
        settings = settings.map(lambda column: column.to(parameters.dtype))
        if self.group["maximize"]:
            gradients.neg_()
        if settings.has_weight_decay:
            gradients.addcmul_(parameters, settings.weight_decay)
        step = (
            self._momentum_step_(gradients, states["momentum_buffer"], settings) if settings.has_momentum else gradients
        )
        parameters.addcmul_(step, settings.rate, value=-1)

    def _momentum_step_(self, gradients: Tensor, velocity: Tensor, settings: StepSettings) -> Tensor:
        if self.steps > 1:
            velocity.mul_(settings.momentum)
            if dampening := self.group["dampening"]:  # as in torch, not applied without momentum
                velocity.addcmul_(gradients, 1 - dampening * settings.momentum.sign())
            else:
                velocity.add_(gradients)
        else:
            velocity.copy_(gradients)
        return gradients.addcmul_(velocity, settings.momentum) if self.group["nesterov"] else velocity

    def export(self, optimizer: Optimizer, states: Mapping[str, Sequence[Tensor]], steps: int) -> None:
        if optimizer.param_groups[0]["momentum"]:  # torch has no states without momentum
            super().export(optimizer, states, steps)


class StackedAdam(StackedOptimizer):
    """torch's Adam or AdamW for R replicas, with torch's order of operations.

    m ← beta1 m + (1 − beta1) g, v ← beta2 v + (1 − beta2) g², w ← w − eta m̂ / (√v̂ + eps), where
    m̂ = m / (1 − beta1^t) and v̂ = v / (1 − beta2^t). Adam adds weight_decay · w to g; AdamW first subtracts
    eta · weight_decay · w from w.
    Source: Kingma & Ba 2015 (Adam); Loshchilov & Hutter 2019 (AdamW).
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
        share, square_share = ((1 - beta).to(parameters.dtype) for beta in (settings.momentum, settings.beta2))
        settings = settings.map(lambda column: column.to(parameters.dtype))
        if self.group["maximize"]:
            gradients.neg_()
        if settings.has_weight_decay and self.group["decoupled_weight_decay"]:
            parameters.mul_(shrinkage)
        elif settings.has_weight_decay:
            gradients.addcmul_(parameters, settings.weight_decay)
        mean, square = states["exp_avg"], states["exp_avg_sq"]
        mean.lerp_(gradients, share.expand_as(mean))
        square.mul_(settings.beta2).add_(gradients.square_().mul_(square_share))
        if self.group["amsgrad"]:
            square = torch.maximum(states["max_exp_avg_sq"], square, out=states["max_exp_avg_sq"])
        root = torch.sqrt(square, out=gradients).div_(correction).add_(self.group["eps"])
        parameters.addcmul_(torch.div(mean, root, out=root), rate, value=-1)


def stacked_optimizer(optimizer: Optimizer, parameters: Tensor, *, steps: int = 0) -> StackedOptimizer:
    """Create the optimizer of all replicas, with the class and shared settings of one replica's optimizer.

    Args:
        optimizer: The optimizer of any replica, exactly of a class in `OPTIMIZERS`.
        parameters: The parameters of all replicas, shape (R, P).
        steps: The number of steps done.
    """
    assert type(optimizer) in OPTIMIZERS
    kind = StackedSGD if isinstance(optimizer, SGD) else StackedAdam
    return kind(optimizer.param_groups[0], parameters, steps=steps)


class EpochSettings:
    """The optimizer settings of all replicas for all steps of an epoch.

    They are copied to the device once, so that no step waits for a transfer.

    Args:
        steps: The numbers of the steps.
    """

    def __init__(self, replicas: Sequence[Replica], steps: range) -> None:
        self._scheduled = replicas[0].schedule is not None
        self._first = steps.start
        steps = steps if self._scheduled else steps[:1]
        self._settings = _settings_of(replicas, steps)
        self._has_momentum = [any(replica.momentum(step) for replica in replicas) for step in steps]

    def at(self, step: int) -> StepSettings:
        """Return the settings of a step of the epoch."""
        row = step - self._first if self._scheduled else 0
        return self._settings.map(lambda column: column[row])._replace(has_momentum=self._has_momentum[row])

    def keep(self, rows: Sequence[int]) -> None:
        """Keep the settings of the replicas with the given indices, and drop all others."""
        index = torch.tensor(list(rows), device=self._settings.rate.device)
        self._settings = self._settings.map(lambda column: column.index_select(1, index))


def _settings_of(replicas: Sequence[Replica], steps: range) -> StepSettings:
    """Collect the settings of replicas in the given steps, as tensors of shape (steps, R, 1)."""
    groups = [replica.optimizer.param_groups[0] for replica in replicas]
    device = groups[0]["params"][0].device
    rates = [[replica.rate(step) for replica in replicas] for step in steps]
    momenta = [[replica.momentum(step) for replica in replicas] for step in steps]
    decays = [[float(group["weight_decay"]) for group in groups]] * len(steps)
    betas = [[float(group["betas"][1]) if "betas" in group else 0.0 for group in groups]] * len(steps)
    rate, momentum, decay, beta2 = (torch.tensor(rows, dtype=torch.float64) for rows in (rates, momenta, decays, betas))
    settings = StepSettings(rate, momentum, decay, beta2, has_weight_decay=bool(decay.any()))
    return settings.map(lambda column: column.unsqueeze(2).to(device))


def _trained_parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for parameter in optimizer.param_groups[0]["params"] if parameter.requires_grad]
