"""What theory says of a net, where net and initializer state their laws."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from start_training.diagnosis.measurement import Measurement
from start_training.models.law import law_of
from start_training.theory.verdict import Thresholds, Verdict


class Prediction(NamedTuple):
    """law: what `net.law(initializer)` gave. forward: log E[M_j] / E[M_{j−1}], (d,). verdict: None if it gives none."""

    law: Any
    log_input_length: float
    forward: NDArray[np.float64]
    verdict: Verdict | None


def predict(net: nn.Module, initializer: object, measured: Measurement, thresholds: Thresholds) -> Prediction | None:
    """Of the layers that were measured, for the measured input; None where theory has nothing to say of them."""
    law, input_length = law_of(net, initializer), float(measured.lengths[:, 0].mean())
    if law is None or not 0 < input_length < math.inf:
        return None
    log_input = math.log(input_length)
    lengths = law.log_mean_length(log_input)
    if len(lengths) != measured.depth:  # other modules were measured than theory speaks of
        return None
    judge = getattr(law, "verdict", None)
    verdict = judge(thresholds, log_input_length=log_input) if judge else None
    return Prediction(law, log_input, np.diff(lengths, prepend=log_input), verdict)
