"""The premises of the weight-decay guideline, and where a config or a short run violates one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from start_training.config.build import build_datamodule, build_net
from start_training.config.mistakes import target_of
from start_training.datamodules.loader import TrainingLoader
from start_training.order_chaos.layer_phases import PhasedLayer, layer_phase, phased_layers
from start_training.order_chaos.slope import BEND, SHORTEST, Slope, fit_slope, ordered_window
from start_training.order_chaos.weight_decay_guideline import Descent, MeanSlope
from start_training.settings import positive_integer
from start_training.studies.guideline.guideline_runs import Curve

Config = Mapping[str, Any]


class PremiseFails(Exception):
    """The guideline does not apply; the message is the reason."""


def require(holds: bool, reason: str) -> None:
    """Raises PremiseFails with the reason unless a premise holds."""
    if not holds:
        raise PremiseFails(reason)


def check_config(config: Config) -> tuple[Descent, PhasedLayer]:
    """The descent of a config, and the net's first square layer, whose J the guideline is about.

    Nesterov's momentum is covered: its steps, too, add up to eta / (1 − alpha) times the gradient, which includes
    weight decay.

    Raises:
        PremiseFails: The formula does not describe the config: an optimizer other than torch's SGD, one with dampening
            or that ascends, a learning rate that changes, weight decay, no square dense layer before the readout, or
            one that is chaotic from the start or has another edge than tanh.
        ValueError: No run could use the config.
    """
    check_optimizer(config)
    schedule = config.get("schedule") or {}
    require(
        not schedule,
        f"schedule = {schedule.get('_target_', 'a schedule')}: the slope of J² follows eta, which must not change "
        "(schedule=constant)",
    )
    datamodule = build_datamodule(config)
    layer = square_layer(build_net(config, datamodule))
    datamodule.prepare_data()
    datamodule.setup("fit")
    accumulated = positive_integer("accumulate_grad_batches", config["trainer"].get("accumulate_grad_batches", 1))
    loader = datamodule.train_dataloader()
    with_order = isinstance(loader, TrainingLoader)
    batch = loader.order.batch_size if with_order else loader.batch_size
    samples = loader.order.size if with_order else len(loader) * batch
    optimizer = config["optimizer"]
    return Descent(optimizer["lr"], optimizer.get("momentum", 0.0), batch * accumulated, samples), layer


def check_optimizer(config: Config) -> None:
    """Raises PremiseFails unless the optimizer is plain SGD without weight decay."""
    optimizer = config["optimizer"]
    require(
        target_of(optimizer, "optimizer") is torch.optim.SGD,
        f"optimizer = {optimizer['_target_']}: the guideline is that of torch.optim.SGD, which adds weight decay "
        "to the gradient; with adapted or decoupled steps another relation holds",
    )
    weight_decay = optimizer.get("weight_decay", 0.0)
    require(
        not weight_decay,
        f"optimizer.weight_decay = {weight_decay:g}: A is to be the growth of J² without decay "
        "(optimizer.weight_decay=0)",
    )
    for key, value in (("dampening", 0), ("maximize", False)):
        given = optimizer.get(key, value)
        require(given == value, f"optimizer.{key} = {given}: with it eta / (1 − alpha) is not the rate of descent")


def square_layer(net: nn.Module) -> PhasedLayer:
    """The first square dense layer.

    Raises:
        PremiseFails: There is none, it is chaotic already, or the edge of its activation is not at J = 1.
    """
    layers = phased_layers(net)
    square = next((layer for layer in layers if layer.square), None)
    if square is None:
        shapes = ", ".join(f"{layer.name} {tuple(layer.weight.shape)}" for layer in layers)
        raise PremiseFails(
            f"model: no square dense layer before the readout, whose J could be the edge's ({shapes or 'no layer'}); "
            "model=tanh_layer has one"
        )
    require(
        square.edge_at_1,
        f"{type(square.activation).__name__} after {square.name}: its edge of chaos is not at J = 1, as tanh's is "
        "(of ReLU it is at J² = 2)",
    )
    J0, J = layer_phase(square.weight)
    require(
        abs(J0) < J,
        f"J0 = {J0:.3g} of {square.name} at initialization: with a mean that large (J = {J:.3g}) the edge of chaos "
        "is not at J = 1 (initializer=phase initializer.J0=0)",
    )
    require(
        J < 1,
        f"J = {J:.3g} of {square.name} at initialization: already in the chaotic phase, where J² does not follow "
        "the law (initializer=phase initializer.J=0.5)",
    )
    return square


def mean_slope(curves: Sequence[Curve], window: tuple[float, float] | None, *, skip: float) -> MeanSlope:
    """The slope A of J² in short runs without weight decay, one for each seed.

    Args:
        curves: Of the runs.
        window: Epochs (start, end) of the fit; None for the ordered phase without its first part (`ordered_window`).
        skip: That part, as a fraction.

    Raises:
        PremiseFails: J² does not grow, is not linear, or leaves the ordered phase too soon.
    """
    slope = MeanSlope([slope_of(curve, window, skip=skip) for curve in curves])
    require(
        slope.positive,
        f"A = {slope.A:.3g} ± {slope.statistical:.2g} an epoch: not above 0 within its error and with every "
        "seed, so that J² does not grow toward the edge",
    )
    require(
        slope.linear,
        f"A = {slope.A:.3g} an epoch: J² is not linear, its slope changes by {slope.bend:+.0%} over epochs "
        f"{slope.slopes[0].start:g} to {slope.slopes[0].end:g}; a later window or a longer run (window, measure) "
        "may find it so",
    )
    require(
        window is not None or abs(slope.bend_at_edge) <= BEND,  # with a given window, the error tells how sure A is
        f"A = {slope.A:.3g} an epoch: still changes; going on like this the slope would differ by "
        f"{slope.bend_at_edge:+.0%} at the edge, epoch {slope.epochs_to_edge[0]:.3g} by this line; a longer run "
        "(measure) comes nearer to it",
    )
    return slope


def slope_of(curve: Curve, window: tuple[float, float] | None, *, skip: float) -> Slope:
    """The slope of one short run; arguments as of `mean_slope`.

    Raises:
        PremiseFails: It diverged, or left the ordered phase before a slope can be fitted.
    """
    seed = curve.trial.summary["seed"]
    reason = curve.trial.summary["reason"]
    require(curve.completed, f"seed {seed}: the run without weight decay diverged ({reason})")
    epochs, J2 = curve.rows["epoch"].to_numpy(), curve.rows["J2"].to_numpy()
    require(not J2[0] >= 1, f"seed {seed}: J² = {J2[0]:.3g} at initialization, already in the chaotic phase")
    (start, end), edge = window or ordered_window(epochs, J2, skip=skip), curve.edge
    reaches = f"seed {seed}: J² reaches 1 in epoch {edge:.1f}"
    require(not edge <= end, f"{reaches}, within the window; the law is that below 1")
    require(
        end - start >= SHORTEST,
        f"{reaches}, and a slope needs {SHORTEST:g} whole epochs before; lower eta / ((1 − alpha) B)",
    )
    return fit_slope(epochs, J2, window=(start, end))
