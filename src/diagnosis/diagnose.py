"""Will this net start training? One call for any module and a batch."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from start_training.diagnosis.advice import Advice, advise_fully_connected, advise_residual, advise_widths
from start_training.diagnosis.findings import Findings
from start_training.diagnosis.measurement import Measurement
from start_training.diagnosis.nets import Nets, batch_shape
from start_training.diagnosis.prediction import Prediction, predict
from start_training.diagnosis.report import as_text
from start_training.diagnosis.trial import advise_scales
from start_training.initializers.initialize import FillTensor
from start_training.settings import seed as checked_seed
from start_training.settings import whole_number
from start_training.theory.fully_connected import FullyConnectedLaw
from start_training.theory.residual import ResidualLaw
from start_training.theory.verdict import DEFAULTS, FM1, FM2, Thresholds, Verdict

NETS = 10


class Diagnosis(Findings):
    """What was measured, what theory says where it speaks, the verdict, and advice. `print` it for the report."""

    def __str__(self) -> str:
        return as_text(self)


def diagnose(
    net: nn.Module,
    batch: Any,
    *,
    initializer: FillTensor | None = None,
    readout_initializer: FillTensor | None = None,
    nets: int = NETS,
    thresholds: Thresholds = DEFAULTS,
    modules: Sequence[str] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """The verdict on `net` at initialization, from `nets` initializations of copies of it, and from theory.

    batch: a tensor, or a tuple or dict of the forward's arguments; the first axis is samples. initializer: draws all
    nets (`initialize_`); without one they are drawn anew from the module's own weights, the first being the module
    as it is (`Redraw` states what that can tell). modules: name patterns of what to measure (`Capture` states what
    is measured otherwise). The module itself is not changed in any way, nor are global random streams.
    The same arguments give the same diagnosis.
    Source: Hanin & Rolnick 2018 (arXiv:1803.01719); thresholds are argued in `Thresholds`.
    Raises ValueError for fewer nets than 2, a net with nothing to measure, or a batch that it fails on.
    """
    whole_number("nets", nets, at_least=2)
    drawn = Nets(
        net,
        batch,
        initializer=initializer,
        readout_initializer=readout_initializer,
        nets=nets,
        seed=checked_seed("seed", seed),
        modules=modules,
    )
    measurement = drawn.measure()
    measured = measurement.verdict(thresholds)
    prediction = predict(net, initializer, measurement, thresholds)
    verdict = prediction.verdict if prediction and prediction.verdict else measured
    advice = _advice(drawn, verdict, measurement, prediction, thresholds)
    return Diagnosis(type(net).__name__, batch_shape(batch), measurement, measured, prediction, tuple(advice))


def _advice(
    nets: Nets, verdict: Verdict, measurement: Measurement, prediction: Prediction | None, thresholds: Thresholds
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
