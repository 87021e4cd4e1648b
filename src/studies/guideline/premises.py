"""The premises of the weight-decay guideline, checked for a config and for its short runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from start_training.config.build import build_datamodule, build_net
from start_training.config.mistakes import target_of
from start_training.datamodules.loader import TrainingLoader
from start_training.order_chaos.layer_phases import PhasedLayer, layer_phase, phased_layers
from start_training.order_chaos.slope import MAX_BEND, MIN_WINDOW, Slope, fit_slope, ordered_window
from start_training.order_chaos.weight_decay_guideline import Descent, MeanSlope
from start_training.settings import positive_integer
from start_training.studies.guideline.guideline_runs import Curve

Config = Mapping[str, Any]


class PremiseFails(Exception):
    """Raised if the weight-decay guideline does not apply; the message states the reason."""


def require(holds: bool, reason: str) -> None:
    """Raise PremiseFails with the given reason unless a premise holds."""
    if not holds:
        raise PremiseFails(reason)


def check_config(config: Config) -> tuple[Descent, PhasedLayer]:
    """Check that the guideline applies to a config.

    Nesterov momentum is allowed, because its steps also add up to eta / (1 − alpha) times the gradient, which includes
    weight decay.

    Returns:
        The config's hyper-parameters of SGD, and the net's first square layer, whose J² the guideline predicts.

    Raises:
        PremiseFails: The formula does not hold for the config: the optimizer is not torch's SGD, has dampening or
            weight decay, or maximizes; the learning rate changes; or the net has no square dense layer before the
            readout, or its edge of chaos is not at J = 1, or it is chaotic at initialization.
        ValueError: The config cannot be used for a run.
    """
    check_optimizer(config)
    schedule = config.get("schedule") or {}
    require(
        not schedule,
        f"schedule = {schedule.get('_target_', 'a schedule')}: the learning rate must be constant, because the growth "
        "of J² = fan_in · Var W is proportional to it; type schedule=constant",
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
    """Raise PremiseFails unless the optimizer is torch's SGD without weight decay, dampening and maximize."""
    optimizer = config["optimizer"]
    require(
        target_of(optimizer, "optimizer") is torch.optim.SGD,
        f"optimizer = {optimizer['_target_']}: must be torch.optim.SGD, which adds weight decay to the gradient; the "
        "formula does not hold for adaptive steps or decoupled weight decay; type optimizer=sgd",
    )
    weight_decay = optimizer.get("weight_decay", 0.0)
    require(
        not weight_decay,
        f"optimizer.weight_decay = {weight_decay:g}: must be 0, because the guideline is computed from the growth of "
        "J² = fan_in · Var W without weight decay; type optimizer.weight_decay=0",
    )
    for key, value in (("dampening", 0), ("maximize", False)):
        given = optimizer.get(key, value)
        require(
            given == value,
            f"optimizer.{key} = {given}: must be {str(value).lower()}, because the formula assumes steps of "
            "eta / (1 − alpha) times the gradient",
        )


def square_layer(net: nn.Module) -> PhasedLayer:
    """Return the first square dense layer of a net, and check that it is ordered with its edge of chaos at J = 1.

    Raises:
        PremiseFails: There is none, its edge of chaos is not at J = 1, or it is in the chaotic phase.
    """
    layers = phased_layers(net)
    square = next((layer for layer in layers if layer.square), None)
    if square is None:
        shapes = ", ".join(f"{layer.name} {tuple(layer.weight.shape)}" for layer in layers)
        raise PremiseFails(
            "model: must have a square dense layer before the readout, for which the weight decay is computed; its "
            f"layers are {shapes or 'none'}; type model=tanh_layer"
        )
    require(
        square.edge_at_1,
        f"activation of {square.name} = {type(square.activation).__name__}: must have its edge of chaos at J = 1, as "
        "tanh does (ReLU has it at J² = 2); type model.activation=tanh",
    )
    J0, J = layer_phase(square.weight)
    require(
        abs(J0) < J,
        f"J0 = {J0:.3g} of {square.name} at initialization: its absolute value must be below J = {J:.3g}, otherwise "
        "the edge of chaos is not at J = 1; type initializer=phase initializer.J0=0",
    )
    require(
        J < 1,
        f"J = {J:.3g} of {square.name} at initialization: must be below 1, because J² does not grow linearly in the "
        "chaotic phase; type initializer=phase initializer.J=0.5",
    )
    return square


def mean_slope(curves: Sequence[Curve], window: tuple[float, float] | None, *, skip: float) -> MeanSlope:
    """Fit the growth of J² = fan_in · Var W in short runs without weight decay, and check that it is linear.

    Args:
        curves: The curves of the short runs, one for each seed.
        window: Start and end of the fit in epochs; None fits the ordered phase without its first part
            (`ordered_window`).
        skip: Share of the ordered phase to leave out at its beginning if `window` is None.

    Returns:
        The fitted line, averaged over seeds.

    Raises:
        PremiseFails: J² does not grow, does not grow linearly, or leaves the ordered phase too soon.
    """
    slope = MeanSlope([slope_of(curve, window, skip=skip) for curve in curves])
    require(
        slope.positive,
        f"A = {slope.A:.3g} ± {slope.statistical:.2g} per epoch: A, the growth of J² = fan_in · Var W, must be above "
        "0 with every seed and by more than two standard errors; raise optimizer.lr or measure",
    )
    require(
        slope.linear,
        f"A = {slope.A:.3g} per epoch: J² = fan_in · Var W must grow linearly, but its slope changes by "
        f"{slope.bend:+.0%} over epochs {slope.slopes[0].start:g} to {slope.slopes[0].end:g}; try a later "
        "window=[start,end] or a larger measure",
    )
    require(
        # A user who gives a window accepts a changing slope; the error of A then includes the change.
        window is not None or abs(slope.bend_at_edge) <= MAX_BEND,
        f"A = {slope.A:.3g} per epoch: the growth of J² = fan_in · Var W must be linear up to J² = 1, but extrapolated "
        f"to epoch {slope.epochs_to_edge[0]:.3g}, where the fitted line reaches 1, its slope changes by "
        f"{slope.bend_at_edge:+.0%}; try a larger measure, so that J² comes closer to 1",
    )
    return slope


def slope_of(curve: Curve, window: tuple[float, float] | None, *, skip: float) -> Slope:
    """Fit the growth of J² = fan_in · Var W per epoch in one short run; `mean_slope` explains the arguments.

    Raises:
        PremiseFails: The run diverged, or left the ordered phase before a slope can be fitted.
    """
    seed = curve.trial.summary["seed"]
    reason = curve.trial.summary["reason"]
    require(curve.completed, f"seed {seed}: the run without weight decay diverged ({reason})")
    epochs, J2 = curve.rows["epoch"].to_numpy(), curve.rows["J2"].to_numpy()
    require(not J2[0] >= 1, f"seed {seed}: J² = fan_in · Var W = {J2[0]:.3g} at initialization: must be below 1")
    (start, end), edge = window or ordered_window(epochs, J2, skip=skip), curve.edge
    reaches = f"seed {seed}: J² = fan_in · Var W reaches 1 in epoch {edge:.1f}"
    require(
        not edge <= end,
        f"{reaches}, within the window of the fit; the window must end before, as growth is linear only below 1",
    )
    require(
        end - start >= MIN_WINDOW,
        f"{reaches}, but a slope needs at least {MIN_WINDOW:g} epochs before that; lower eta / ((1 − alpha) B), for "
        "example by a smaller optimizer.lr",
    )
    return fit_slope(epochs, J2, window=(start, end))
