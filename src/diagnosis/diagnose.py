"""The function `diagnose`, which predicts whether a net will start training."""

from collections.abc import Sequence
from typing import Annotated, Any

from torch import nn

from start_training.diagnosis.advice import Advice, advise_fully_connected, advise_residual, advise_widths
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.diagnosis.measurement import LayerMeasurement
from start_training.diagnosis.nets import Nets, batch_shape
from start_training.diagnosis.prediction import Prediction, predict
from start_training.diagnosis.trial import advise_scales
from start_training.initializers.drawing import FillTensor
from start_training.lengths.layer_choice import check_layers
from start_training.settings import AtLeast, Seed, checked
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import DEFAULTS, FM1, FM2, Thresholds


@checked
def diagnose(
    net: nn.Module,
    batch: Any,
    *,
    initializer: FillTensor | None = None,
    readout_initializer: FillTensor | None = None,
    nets: Annotated[int, AtLeast(2)] = 10,
    thresholds: Thresholds = DEFAULTS,
    layers: str | Sequence[str] = "auto",
    modules: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Diagnosis:
    """Predict whether `net` will start training, from measurements on initialized copies and from theory if known.

    Each copy passes the batch forward and a random cotangent of its outputs backward; no loss or targets are needed.
    Neither the module nor any global random stream is changed. Source: Hanin & Rolnick 2018 (arXiv:1803.01719).

    Args:
        net: Any module.
        batch: A tensor, or a tuple or dict of the arguments of `net.forward`; the first axis is samples.
        initializer: Initializer of all copies, as in `initialize_`. None: the first copy has the weights of `net`, and
            the other copies get weights that are redrawn from them, which is valid for freshly initialized modules (see
            `Redraw`).
        readout_initializer: Initializer of the readout of all copies; None: the same as of the other layers.
        nets: Number of copies, at least 2.
        thresholds: Thresholds of the verdict; see `Thresholds` for the reasons for the default values.
        layers: `auto`, `blocks`, `activations`, `weights`, or name patterns of the layers; see `choose_layers`.
        modules: Another name of `layers`.
        seed: Seed of all random numbers; the same arguments and seed give the same diagnosis.

    Returns:
        The verdict, the measurements and advice on what to change; `print` it for a report.

    Raises:
        ValueError: a setting is not allowed, the net has no layer to measure, or it fails on the batch.

    Example:
        >>> import torch
        >>> net = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(20)))
        >>> diagnose(net, torch.randn(32, 64), initializer=nn.init.kaiming_normal_).healthy
        True
    """
    if modules is not None and layers != "auto":
        raise ValueError(f"modules = {modules}: is another name of layers, which is {layers}; set only one of them")
    layers = layers if modules is None else modules
    check_layers(net, layers, "layers" if modules is None else "modules")
    drawn = Nets(net, batch, initializer, readout_initializer, nets=nets, seed=seed, layers=layers)
    measured = drawn.measure()
    prediction = predict(net, initializer, measured, thresholds)
    advice = tuple(_advice(drawn, measured, prediction, thresholds))
    return Diagnosis(type(net).__name__, batch_shape(batch), measured, measured.verdict(thresholds), prediction, advice)


def _advice(
    nets: Nets, measurement: LayerMeasurement, prediction: Prediction | None, thresholds: Thresholds
) -> list[Advice]:
    verdict = measurement.verdict(thresholds)
    if prediction and prediction.verdict:
        verdict, law = prediction.verdict, prediction.law
        if isinstance(law, FullyConnectedLaw):
            return advise_fully_connected(law, measurement, thresholds, prediction.log_input_length)
        if isinstance(law, ResidualLaw):
            return advise_residual(law, thresholds, prediction.log_input_length)
    advice = []
    if FM1 in verdict.failure_modes:
        scales, measurement = advise_scales(nets, measurement, thresholds)
        advice.append(scales)
    if FM2 in measurement.verdict(thresholds).failure_modes:
        advice.append(advise_widths(measurement, thresholds))
    return advice
