"""The optimizers and learning rates of a trial: the user's own, or SGD and AdamW at a few rates."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import ASGD, LBFGS, SGD, Optimizer

from start_training.diagnosis.trials.forward_batch import is_lightning
from start_training.settings import one_line

FAMILIES = ("sgd", "adam")
# In the order in which they are tried; the first at which the loss falls ends the trial. Those of the zoo's labels.
RATES: dict[str, tuple[float, ...]] = {"sgd": (0.1, 0.01, 1.0, 0.001), "adam": (1e-3, 1e-2, 1e-4)}
OptimizerChoice = str | Optimizer | Callable[..., Optimizer] | None


@dataclass(frozen=True)
class TrialOptimizer:
    """One optimizer at one rate.

    Attributes:
        family: `sgd`, or `adam` for all that rescale each parameter by its gradients.
        rate: Learning rate.
        text: What it is, such as `SGD 0.1`.
        make: Builds it for a net.
    """

    family: str
    rate: float
    text: str
    make: Callable[[nn.Module], Optimizer]


def trial_optimizers(net: nn.Module, optimizer: OptimizerChoice = None) -> list[TrialOptimizer]:
    """Return the optimizers to try, those of a family one after the other.

    Args:
        net: The net.
        optimizer: `sgd`, `adam` or `adamw`; a class or function that builds an optimizer from parameters, such as a
            `functools.partial`; an optimizer of this net; None: that of a LightningModule, or SGD and AdamW.

    Raises:
        ValueError: it is none of these, or needs a closure.

    Example:
        >>> [one.text for one in trial_optimizers(nn.Linear(1, 1), "adam")]
        ['AdamW 0.001', 'AdamW 0.01', 'AdamW 0.0001']
    """
    if optimizer is None:
        own = _of_lightning(net) if is_lightning(net) else None
        return [own] if own is not None else [one for family in FAMILIES for one in _at_rates(family)]
    if isinstance(optimizer, str):
        family = {"adamw": "adam"}.get(optimizer.lower(), optimizer.lower())
        if family not in FAMILIES:
            raise ValueError(f"optimizer = {optimizer!r}: must be sgd, adam or adamw, or an optimizer of torch")
        return _at_rates(family)
    if isinstance(optimizer, Optimizer):
        return [_checked(net, partial(_rebuilt, optimizer, [*net.parameters()]))]
    if callable(optimizer):
        return [_checked(net, lambda one: optimizer(_trainable(one)))]
    raise ValueError(f"optimizer = {optimizer!r}: must be sgd, adam or adamw, or an optimizer of torch")


def _trainable(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.requires_grad]


def _at_rates(family: str) -> list[TrialOptimizer]:
    def sgd(rate: float, net: nn.Module) -> Optimizer:
        return SGD(_trainable(net), rate, momentum=0.9)

    def adam(rate: float, net: nn.Module) -> Optimizer:
        return torch.optim.AdamW(_trainable(net), rate)

    make, name = {"sgd": (sgd, "SGD"), "adam": (adam, "AdamW")}[family]
    return [TrialOptimizer(family, rate, f"{name} {rate:g}", partial(make, rate)) for rate in RATES[family]]


def _checked(net: nn.Module, make: Callable[[nn.Module], Optimizer]) -> TrialOptimizer:
    lazy = any(is_lazy(parameter) for parameter in net.parameters())  # their optimizer is built for a stand-in
    trained = nn.Linear(1, 1) if lazy else copy.deepcopy(net).requires_grad_(True)
    try:
        built = make(trained)
    except Exception as error:  # the user's function may raise anything
        raise ValueError(f"optimizer: cannot be built for the parameters of net ({one_line(error)})") from error
    if not hasattr(built, "param_groups") or not callable(getattr(built, "step", None)):
        raise ValueError(f"optimizer: must build a torch.optim.Optimizer, not {type(built).__name__}")
    if isinstance(built, LBFGS):
        raise ValueError("optimizer = LBFGS: needs a closure; use sgd or adam")
    _try_step(trained, built)
    family = "sgd" if isinstance(built, SGD | ASGD) else "adam"
    rate = float(built.param_groups[0].get("lr", 0))
    return TrialOptimizer(family, rate, f"{type(built).__name__} {rate:g}", make)


def _try_step(net: nn.Module, optimizer: Optimizer) -> None:
    """Take a step with gradients of 0, since some optimizers need a closure, or gradients of some kind."""
    sparse = {id(one.weight) for one in net.modules() if isinstance(one, nn.Embedding) and one.sparse}
    for parameter in net.parameters():
        zero = torch.zeros_like(parameter)
        parameter.grad = zero.to_sparse() if id(parameter) in sparse and not zero.is_meta else zero
    try:
        if callable(set_mode := getattr(optimizer, "train", None)):  # of schedule-free optimizers
            set_mode()
        optimizer.step()
    except Exception as error:  # whatever an optimizer raises
        kind = type(optimizer).__name__
        raise ValueError(f"optimizer = {kind}: cannot take a step ({one_line(error)}); use sgd or adam") from error


def _rebuilt(optimizer: Optimizer, parameters: Sequence[nn.Parameter], net: nn.Module) -> Optimizer:
    """Build an optimizer with the same settings for the parameters of a copy of the net."""
    place = {id(parameter): number for number, parameter in enumerate(parameters)}
    copies = [*net.parameters()]
    if any(id(one) not in place for group in optimizer.param_groups for one in group["params"]):
        raise ValueError("it has parameters of another module; pass its class, or a function of parameters")
    groups = [_copied_group(group, place, copies) for group in optimizer.param_groups]
    kind: Any = type(optimizer)  # optimizers take groups alone, other than their base class
    return kind(groups)


def _copied_group(group: dict[str, Any], place: dict[int, int], copies: list[nn.Parameter]) -> dict[str, Any]:
    settings = {key: value for key, value in group.items() if key not in ("params", "initial_lr")}
    return {**settings, "params": [copies[place[id(parameter)]] for parameter in group["params"]]}


def _of_lightning(net: nn.Module) -> TrialOptimizer | None:
    """Return the one optimizer that a LightningModule configures; None if it needs a trainer or has several."""

    def make(module: nn.Module) -> Optimizer:
        configure: Any = module.configure_optimizers  # a LightningModule, of whatever package
        found = [*_optimizers_in(configure())]
        if len(found) != 1:
            raise ValueError(f"{len(found)} optimizers")
        return found[0]

    try:
        return _checked(net, make)
    except ValueError:
        return None


def _optimizers_in(configured: Any) -> Iterable[Optimizer]:
    if isinstance(configured, Optimizer):
        yield configured
    elif isinstance(configured, dict):
        yield from _optimizers_in(configured.get("optimizer"))
    elif isinstance(configured, list | tuple):
        for one in configured:
            yield from _optimizers_in(one)
