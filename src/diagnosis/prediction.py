"""Prediction of theory for a diagnosed net, if the law of the net under its initializer is known."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from start_training.diagnosis.evidence.measurement import LayerMeasurement
from start_training.models.law import law_of
from start_training.tables import theory_heading
from start_training.theory.verdict import Thresholds, Verdict


class Prediction(NamedTuple):
    """The prediction of a law for the measured batch.

    Attributes:
        law: The law of the net, the result of `net.law(initializer)`.
        log_input_length: log M_0 of the batch.
        forward: Predicted rates log(E[M_j] / E[M_{j−1}]), shape (d,), in nats per layer.
        verdict: The predicted verdict; None if the law does not give one.
    """

    law: Any
    log_input_length: float
    forward: NDArray[np.float64]
    verdict: Verdict | None

    @property
    def heading(self) -> str:
        """The word theory, with what the law supposes."""
        return " ".join(theory_heading(getattr(self.law, "supposes", ())).split())


def predict(
    net: nn.Module, initializer: object, measured: LayerMeasurement, thresholds: Thresholds
) -> Prediction | None:
    """Return the prediction for the measured layers of `net`, or None if no law is known for them."""
    law, input_length = law_of(net, initializer), float(measured.lengths[:, 0].mean())
    if law is None or not 0 < input_length < math.inf:
        return None
    log_input = math.log(input_length)
    lengths = law.log_mean_length(log_input)
    if len(lengths) != measured.depth:  # the law describes other layers than the measured ones
        return None
    verdict = law.verdict(thresholds, log_input_length=log_input) if hasattr(law, "verdict") else None
    return Prediction(law, log_input, np.diff(lengths, prepend=log_input), verdict)
