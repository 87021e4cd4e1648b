"""What theory predicts for a net, where the laws of net and initializer are known."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from start_training.diagnosis.measurement import LayerMeasurement
from start_training.models.law import law_of
from start_training.theory.verdict import Thresholds, Verdict


class Prediction(NamedTuple):
    """The prediction of a law for the input that was measured.

    Attributes:
        law: The result of `net.law(initializer)`.
        log_input_length: log M_0 of the batch.
        forward: Shape (d,), log E[M_j] / E[M_{j−1}], in nats.
        verdict: None where the law gives none.
    """

    law: Any
    log_input_length: float
    forward: NDArray[np.float64]
    verdict: Verdict | None


def predict(
    net: nn.Module, initializer: object, measured: LayerMeasurement, thresholds: Thresholds
) -> Prediction | None:
    """The prediction for the layers that were measured; None where no law is known for them."""
    law, input_length = law_of(net, initializer), float(measured.lengths[:, 0].mean())
    if law is None or not 0 < input_length < math.inf:
        return None
    log_input = math.log(input_length)
    lengths = law.log_mean_length(log_input)
    if len(lengths) != measured.depth:  # the law is of other layers than were measured
        return None
    verdict = law.verdict(thresholds, log_input_length=log_input) if hasattr(law, "verdict") else None
    return Prediction(law, log_input, np.diff(lengths, prepend=log_input), verdict)
