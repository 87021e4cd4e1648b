"""The changes that are tried on copies of a net, from those that change least to new weights for all of it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Generator, nn

from start_training.cure.gates import remembering_bias, reset_recurrent_
from start_training.cure.layer_scales import critical_, scale_ends_, sweep_
from start_training.cure.net_graph import graph_of
from start_training.cure.readout import scale_readout_
from start_training.cure.repairs import clear_dead_biases_, redraw_equal_, replace_not_finite_, restore_outlying_
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.diagnosis.evidence.prepare import Prepared

Step = Callable[["Patient"], str]


@dataclass(frozen=True)
class Patient:
    """A copy of a net that is being changed.

    Attributes:
        net: The copy.
        case: The batch, the loss, and the net as it was.
        before: Its diagnosis as it was.
        generator: Generator of new weights.
    """

    net: nn.Module
    case: Prepared
    before: Diagnosis
    generator: Generator


def _repair(patient: Patient) -> str:
    dead = {"dead", "no_gradient"} & {finding.defect for finding in patient.before.defects}
    steps = (replace_not_finite_, redraw_equal_, *([clear_dead_biases_] if dead else []))
    return joined([step(patient.net, patient.case, patient.generator) for step in steps])


def _restore(patient: Patient) -> str:
    return restore_outlying_(patient.net, [path for path, _ in patient.before.layers.measured_paths])


def _readout(patient: Patient) -> str:
    return scale_readout_(patient.net, patient.case, graph_of(patient.net, patient.case))


def _ends(*, zero: bool = False) -> Step:
    return lambda patient: scale_ends_(graph_of(patient.net, patient.case), zero=zero)


def _sweep(draw: str = "", *, centered: bool = False) -> Step:
    def step(patient: Patient) -> str:
        graph = graph_of(patient.net, patient.case)
        return sweep_(patient.net, patient.case, graph, patient.generator, draw=draw, centered=centered)

    return step


def _critical(patient: Patient) -> str:
    return critical_(graph_of(patient.net, patient.case), patient.generator)


def _recurrent(*, long: bool = False) -> Step:
    def step(patient: Patient) -> str:
        graph = graph_of(patient.net, patient.case)
        time = max((one.steps for one in patient.before.layers.mechanisms.time), default=2)
        bias, inputs = (remembering_bias(time), 0.1) if long else (1.0, 1.0)
        return reset_recurrent_(patient.net, graph, patient.generator, bias=bias, inputs=inputs)

    return step


# The steps after the repairs, and before the scale of the readout. Those that do nothing to a net are left out.
PLANS: tuple[tuple[Step, ...], ...] = (
    (),
    (_restore,),
    (_ends(),),
    (_recurrent(),),
    (_recurrent(long=True),),
    (_sweep(), _ends()),
    (_recurrent(), _sweep("orthogonal"), _ends()),
    (_recurrent(long=True), _critical, _ends()),
    (_recurrent(), _sweep("orthogonal", centered=True), _ends()),
    (_sweep(), _ends(zero=True)),
)


def apply_plan_(plan: tuple[Step, ...], patient: Patient) -> str:
    """Apply the repairs, a plan and the scale of the readout to a copy; return what was done, empty for nothing."""
    done = [step(patient) for step in (_repair, *plan)]
    if plan and not any(done[1:]):
        return ""
    return joined([*done, _readout(patient)])


def joined(parts: Iterator[str] | list[str]) -> str:
    """Join what was done; nothing is left out."""
    return "; ".join(part for part in parts if part)


def quality(diagnosis: Diagnosis) -> tuple[float, ...]:
    """Return what two nets are compared by, the most important first: starts, defects, trial loss, drift."""
    starts = sum({"yes": 1.0, "uncertain": 0.5}.get(start.answer, 0.0) for start in diagnosis.starts.values())
    falls = []
    for family in diagnosis.starts:
        of_family = [min(max(trial.fall, -1.0), 1.0) for trial in diagnosis.trials if trial.family == family]
        falls.append(max(of_family, default=0.0))
    drift = abs(diagnosis.measured.drift)
    return starts, -len(diagnosis.defects), round(sum(falls), 1), -round(drift) if math.isfinite(drift) else -math.inf
