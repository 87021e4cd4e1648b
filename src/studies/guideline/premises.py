"""What the weight-decay guideline takes for granted, and what of a config says that it does not hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from start_training.config.build import build_datamodule, build_net
from start_training.config.mistakes import target_of
from start_training.datamodules.loader import TrainingLoader
from start_training.order_chaos.guideline import decay_rate, edge_decay
from start_training.order_chaos.layer_phases import PhasedLayer, phased_layers
from start_training.order_chaos.phase import layer_phase
from start_training.settings import positive_integer

Config = Mapping[str, Any]


class PremiseFails(Exception):
    """The guideline says nothing here, and why."""


@dataclass(frozen=True)
class Descent:
    """Plain SGD: eta, alpha, the batch B of an optimizer step, S samples an epoch."""

    eta: float
    alpha: float
    batch: int
    samples: int

    def edge_decay(self, A: float) -> float:
        """λ* = A (1 − alpha) B / (4 eta S)."""
        return edge_decay(A, eta=self.eta, alpha=self.alpha, batch=self.batch, samples=self.samples)

    def smaller(self, speed: float) -> int | None:
        """B / speed; None where that is no whole number."""
        batch = self.batch / speed
        return int(batch) if batch >= 1 and batch == int(batch) else None

    def rate(self, decay: float) -> float:
        """4 λ eta S / ((1 − alpha) B), per epoch."""
        return decay_rate(decay, eta=self.eta, alpha=self.alpha, batch=self.batch, samples=self.samples)


def check_premises(config: Config) -> tuple[Descent, PhasedLayer]:
    """How the config descends, and the square layer whose phase it is about: the net's first.

    Raises PremiseFails for what the formula does not describe: an optimizer other than torch's SGD, one with dampening
    or that ascends, a learning rate that changes, weight decay, no square dense layer before the readout, or one that
    is chaotic from the start or has another edge than tanh. Nesterov's momentum is described: its steps, too, add up
    to eta / (1 − alpha) times the gradient, weight decay included. Raises ValueError for a config no run could use.
    """
    check_optimizer(config)
    if config.get("schedule"):
        name = config["schedule"].get("_target_", "a schedule")
        raise PremiseFails(f"schedule = {name}: the slope of J² follows eta, which must not change (schedule=constant)")
    datamodule = build_datamodule(config)
    layer = square_layer(build_net(config, datamodule))
    datamodule.prepare_data()
    datamodule.setup("fit")
    accumulated = positive_integer("accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1))
    loader = datamodule.train_dataloader()
    own = isinstance(loader, TrainingLoader)
    batch = loader.order.batch_size if own else loader.batch_size
    samples = loader.order.size if own else len(loader) * batch
    optimizer = config["optimizer"]
    return Descent(optimizer["lr"], optimizer.get("momentum", 0.0), batch * accumulated, samples), layer


def check_optimizer(config: Config) -> None:
    """Raises PremiseFails where it is no plain SGD without weight decay."""
    optimizer = config["optimizer"]
    if target_of(optimizer, "optimizer") is not torch.optim.SGD:
        raise PremiseFails(
            f"optimizer = {optimizer['_target_']}: the guideline is that of torch.optim.SGD, which adds weight decay "
            "to the gradient; with adapted or decoupled steps another relation holds"
        )
    if decay := optimizer.get("weight_decay", 0.0):
        raise PremiseFails(
            f"optimizer.weight_decay = {decay:g}: A is to be the growth of J² without decay (optimizer.weight_decay=0)"
        )
    for key, value in (("dampening", 0), ("maximize", False)):
        if (there := optimizer.get(key, value)) != value:
            raise PremiseFails(f"optimizer.{key} = {there}: with it eta / (1 − alpha) is not the rate of descent")


def square_layer(net: nn.Module) -> PhasedLayer:
    """The first square dense layer.

    Raises PremiseFails where there is none, where it is chaotic already, or where its activation's edge is not at 1.
    """
    layers = phased_layers(net)
    square = next((layer for layer in layers if layer.square), None)
    if square is None:
        shapes = ", ".join(f"{layer.name} {tuple(layer.weight.shape)}" for layer in layers)
        raise PremiseFails(
            f"model: no square dense layer before the readout, whose J could be the edge's ({shapes or 'no layer'}); "
            "model=tanh_layer has one"
        )
    if not square.edge_at_1:
        raise PremiseFails(
            f"{type(square.activation).__name__} after {square.name}: its edge of chaos is not at J = 1, as tanh's is "
            "(of ReLU it is at J² = 2)"
        )
    J0, J = layer_phase(square.weight)
    if abs(J0) >= J:
        raise PremiseFails(
            f"J0 = {J0:.3g} of {square.name} at initialization: with a mean that large (J = {J:.3g}) the edge of chaos "
            "is not at J = 1 (initializer=phase initializer.J0=0)"
        )
    if not J < 1:
        raise PremiseFails(
            f"J = {J:.3g} of {square.name} at initialization: already in the chaotic phase, where J² does not follow "
            "the law (initializer=phase initializer.J=0.5)"
        )
    return square
