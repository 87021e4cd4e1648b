"""Will this net start training? One call for any module and a batch."""

from collections.abc import Sequence
from typing import Annotated, Any

from torch import nn

from start_training.diagnosis.advice import Advice, advise_fully_connected, advise_residual, advise_widths
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.diagnosis.measurement import LayerMeasurement
from start_training.diagnosis.nets import Nets, batch_shape
from start_training.diagnosis.prediction import Prediction, predict
from start_training.diagnosis.trial import advise_scales
from start_training.initializers.initialize import FillTensor
from start_training.settings import AtLeast, Seed, checked
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import DEFAULTS, FM1, FM2, Thresholds, Verdict


@checked
def diagnose(
    net: nn.Module,
    batch: Any,
    *,
    initializer: FillTensor | None = None,
    readout_initializer: FillTensor | None = None,
    nets: Annotated[int, AtLeast(2)] = 10,
    thresholds: Thresholds = DEFAULTS,
    modules: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Diagnosis:
    """Whether `net` will start training, from measurements on initialized copies of it and, where known, from theory.

    Each copy passes the batch forward and a random cotangent of its outputs backward; no loss or targets are needed.
    Two failure modes are judged: FM1, lengths or gradients grow or shrink exponentially with depth; FM2, they differ
    widely between nets of the same law. Neither the module nor a global random stream is changed. The same arguments
    give the same diagnosis.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719); the thresholds are argued in `Thresholds`.

    Args:
        net: Any module.
        batch: A tensor, or a tuple or dict of the arguments of the module's forward; the first axis is samples.
        initializer: Draws all copies, as in `initialize_`. None: the first copy is the module as it is, and the
            others are redrawn from its own weights, which works for freshly initialized modules (see `Redraw`).
        readout_initializer: Draws the readout of all copies; None: as the other layers.
        nets: The number of copies, at least 2.
        thresholds: Of the verdict.
        modules: Name patterns of the modules whose outputs to measure, as in `fnmatch`; None: activation modules, or
            else all with weights (see `Capture`).
        seed: Of all random numbers.

    Returns:
        The `Diagnosis`: `print` it for a report; `healthy`, `verdict` and `advice` hold the result.

    Raises:
        ValueError: a setting is not allowed, the net has nothing to measure, or it fails on the batch.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.ReLU())]
        >>> diagnosis = diagnose(nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(32, 64))
        >>> diagnosis.healthy, diagnosis.verdict.failure_modes
        (False, ('FM1',))
        >>> diagnosis.advice[0].change.apply_(net := nn.Sequential(*layers, nn.Linear(64, 10)))
        >>> diagnose(net, torch.randn(32, 64)).healthy
        True
    """
    drawn = Nets(
        net,
        batch,
        initializer=initializer,
        readout_initializer=readout_initializer,
        nets=nets,
        seed=seed,
        modules=modules,
    )
    measurement = drawn.measure()
    measured = measurement.verdict(thresholds)
    prediction = predict(net, initializer, measurement, thresholds)
    verdict = prediction.verdict if prediction and prediction.verdict else measured
    advice = _advice(drawn, verdict, measurement, prediction, thresholds)
    return Diagnosis(type(net).__name__, batch_shape(batch), measurement, measured, prediction, tuple(advice))


def _advice(
    nets: Nets, verdict: Verdict, measurement: LayerMeasurement, prediction: Prediction | None, thresholds: Thresholds
) -> list[Advice]:
    if prediction and prediction.verdict:
        if isinstance(prediction.law, FullyConnectedLaw):
            return advise_fully_connected(prediction.law, measurement, thresholds, prediction.log_input_length)
        if isinstance(prediction.law, ResidualLaw):
            return advise_residual(prediction.law, thresholds, prediction.log_input_length)
    advice = []
    if FM1 in verdict.failure_modes:
        scales, measurement = advise_scales(nets, measurement, thresholds)
        advice.append(scales)
    if FM2 in measurement.verdict(thresholds).failure_modes:
        advice.append(advise_widths(measurement, thresholds))
    return advice
