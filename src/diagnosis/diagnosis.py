"""The result of `diagnose` and its report: a table of layers, measurement and theory, the verdict, and advice."""

import io
import math
from dataclasses import dataclass

import numpy as np
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from start_training.diagnosis.advice import Advice, factor, signed
from start_training.diagnosis.measurement import LayerMeasurement
from start_training.diagnosis.prediction import Prediction
from start_training.tables import shown_layers, theory_heading
from start_training.theory.verdict import FM1, FM2, Verdict

WIDTH = 110
LEGEND = (
    "length M: median over nets. forward, backward: growth in nats per layer, the log of the mean ratio of lengths\n"
    "M_j/M_{j−1}, and of squared gradients in the backward pass. silent: units that are 0 on every sample."
)


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`; `print` it for a report.

    Attributes:
        name: Class name of the module.
        batch: Shape of the batch as text.
        measurement: Measurements of each layer.
        measured: Verdict from the measurements without theory.
        prediction: Prediction of theory; None if no law is known for the net.
        advice: Recommended changes, to be made one after the other; empty for a healthy net.

    Example:
        >>> import torch
        >>> from start_training import TorchDefault, diagnose
        >>> layers = [layer for _ in range(20) for layer in (torch.nn.Linear(64, 64), torch.nn.ReLU())]
        >>> diagnosis = diagnose(torch.nn.Sequential(*layers), torch.ones(1, 64), initializer=TorchDefault())
        >>> diagnosis.healthy, diagnosis.verdict.failure_modes
        (False, ('FM1',))
        >>> diagnosis.advice[0].action
        'Multiply the weights of 0 … 38 (20 layers) by 2.4... and set their biases to zero'
    """

    name: str
    batch: str
    measurement: LayerMeasurement
    measured: Verdict
    prediction: Prediction | None
    advice: tuple[Advice, ...]

    @property
    def predicted(self) -> Verdict | None:
        """Verdict of theory, or None if theory does not give one."""
        return self.prediction.verdict if self.prediction else None

    @property
    def theory_heading(self) -> str:
        """Head of the columns of predictions, with what they suppose."""
        return theory_heading(getattr(self.prediction.law, "supposes", ()) if self.prediction else ())

    @property
    def verdict(self) -> Verdict:
        """Verdict of theory if there is one, since it has no sampling error; otherwise the measured verdict."""
        return self.predicted or self.measured

    @property
    def healthy(self) -> bool:
        return self.verdict.healthy

    @property
    def agrees(self) -> bool:
        """Whether the measurement shows the failure modes that theory predicts; True without a verdict of theory."""
        return self.verdict.failure_modes == self.measured.failure_modes

    def __str__(self) -> str:
        """Return the report as text without colours."""
        output = io.StringIO()
        Console(file=output, width=WIDTH, no_color=True).print(render(self))
        return output.getvalue().rstrip()


def render(diagnosis: Diagnosis) -> Group:
    """Return the whole report of a diagnosis, to be printed by `rich`."""
    layers, legend = rates_by_layer(diagnosis), Text(LEGEND, style="dim")
    return Group(layers, legend, _whole_net(diagnosis), _verdict(diagnosis), _advice(diagnosis))


def rates_by_layer(diagnosis: Diagnosis) -> Table:
    """Return a table with a row per layer: median length over nets, measured and predicted rates, silent units."""
    measured, prediction = diagnosis.measurement, diagnosis.prediction
    title = f"{diagnosis.name}: {measured.nets} initializations, batch of {diagnosis.batch}"
    table = Table(title=title, title_justify="left")
    theory = () if prediction is None else (diagnosis.theory_heading,)
    for heading in ("layer", "name", "length M", "forward", *theory, "backward", "silent"):
        table.add_column(heading, justify="left" if heading == "name" else "right", overflow="fold")
    predicted = [] if prediction is None else [prediction.forward]
    columns = [measured.forward.log, *predicted, measured.backward.log]
    lengths = np.median(measured.lengths, axis=0)
    for layer in shown_layers(len(measured.names)):
        rates = [_nats(rates[layer - 1]) if layer else "" for rates in columns]
        length, silent = f"{lengths[layer]:.3g}", f"{measured.silent[layer]:.0%}"
        table.add_row(str(layer), measured.names[layer], length, *rates, silent)
    return table


def _whole_net(diagnosis: Diagnosis) -> Table:
    measured, theory, limits = diagnosis.measured, diagnosis.predicted, diagnosis.verdict.thresholds
    table = Table("the whole net", "measured", diagnosis.theory_heading, "threshold", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    predicted = theory or measured
    error = f" ± {measured.error:.2g}" if measured.error else ""
    dead, nets = int(diagnosis.measurement.dead.sum()), diagnosis.measurement.nets
    rows = (
        ("forward, later half", _rate(measured.forward), _rate(predicted.forward), ""),
        ("backward, later half", _rate(measured.backward), _rate(predicted.backward), ""),
        ("drift over all layers, nats", signed(measured.drift) + error, signed(predicted.drift), f"±{limits.drift:g}"),
        ("spread (beta)", f"{measured.spread:.3g}", f"{predicted.spread:.3g}", f"{limits.beta:g}"),
        ("dead nets", f"{dead} of {nets}", f"{abs(predicted.dead):.1%}", f"{limits.dead:.0%}"),
    )
    for name, measurement, prediction, limit in rows:
        table.add_row(name, measurement, prediction if theory else "—", limit)
    deviation = diagnosis.measurement.log_deviation
    table.add_row("std. dev. of log M_d over nets", "—" if math.isnan(deviation) else f"{deviation:.2g}", "", "")
    return table


def _verdict(diagnosis: Diagnosis) -> Group:
    verdict = diagnosis.verdict
    healthy = "HEALTHY" if verdict.healthy else f"UNHEALTHY: {' and '.join(verdict.failure_modes)}"
    head = Text(healthy, style="bold green" if verdict.healthy else "bold red")
    lines = [first_mode(verdict, diagnosis.measurement.depth), second_mode(verdict)]
    if diagnosis.predicted:
        lines.append(_agreement(diagnosis))
    return Group(head, *(Padding(Text(line), (0, 0, 0, 2)) for line in lines))


def first_mode(verdict: Verdict, depth: int) -> str:
    """Return a sentence on failure mode 1: the rate per layer, the layer where the drift starts, and its size."""
    limit, starts = verdict.thresholds.drift, (verdict.starts or 0) + 1
    back = abs(verdict.backward) > abs(verdict.forward) * (1 + 1e-3)
    rate, what = (verdict.backward, "squared gradients") if back else (verdict.forward, "lengths")
    if not math.isfinite(verdict.drift):
        return f"Failure mode 1 ({FM1}): yes; {what} become zero, infinite or NaN from layer {starts} on."
    drift = f"{signed(verdict.drift)}{f' ± {verdict.error:.2g}' if verdict.error else ''} nats over {depth} layers"
    if FM1 in verdict.failure_modes:
        plateau = " Biases keep lengths constant, while differences between inputs vanish." * bool(
            back and rate < 0 and abs(verdict.forward) * depth < limit
        )
        return (
            f"Failure mode 1 ({FM1}): yes; {what} {'grow' if rate > 0 else 'shrink'} by {factor(rate)} per layer"
            f"{' of the backward pass' * back} ({signed(rate)} nats/layer) from layer {starts} on. At this rate the "
            f"drift is {drift}, beyond the threshold ±{limit:g}.{plateau}"
        )
    settled = f" Lengths change by {factor(verdict.total)} over all layers, most of it in the earlier half."
    return (
        f"Failure mode 1 ({FM1}): no; {what} change by {factor(rate)} per layer{' of the backward pass' * back} in the "
        f"later half of the net. At this rate the drift is {drift}, within the threshold ±{limit:g}."
        f"{settled * verdict.settles}"
    )


def second_mode(verdict: Verdict) -> str:
    """Return a sentence on failure mode 2: beta, the spread of lengths over nets, and dead nets."""
    limits, deviation = verdict.thresholds, math.sqrt(5 * max(verdict.spread, 0))
    return (
        f"Failure mode 2 ({FM2}): {'yes' if FM2 in verdict.failure_modes else 'no'}; beta is {verdict.spread:.3g} "
        f"(threshold {limits.beta:g}): the standard deviation of log-lengths over nets is {deviation:.2g} nats, which "
        f"is {factor(deviation)} in length; {abs(verdict.dead):.1%} of nets are dead (threshold {limits.dead:.0%})."
    )


def _agreement(diagnosis: Diagnosis) -> str:
    if diagnosis.agrees:
        return "The verdict is that of theory, and the measurement agrees with it."
    measured = " and ".join(diagnosis.measured.failure_modes) or "no failure mode"
    predicted = " and ".join(diagnosis.verdict.failure_modes) or "none"
    return (
        f"The measurement shows {measured}, while theory predicts {predicted}. The verdict is that of theory; to check "
        "it, measure more nets (nets=…)."
    )


def _advice(diagnosis: Diagnosis) -> Group:
    lines = []
    for number, advice in enumerate(diagnosis.advice, start=1):
        overrides = f" [{' '.join(advice.overrides)}]" if 0 < len(" ".join(advice.overrides)) <= 80 else ""
        lines.append(Padding(Text(f"{number}. {advice.action}.{overrides}", style="bold"), (0, 0, 0, 2)))
        lines.append(Padding(Text(f"→ {advice.effect}."), (0, 0, 0, 5)))
    return Group(Text("What to change", style="bold"), *lines) if lines else Group()


def _nats(rate: float) -> str:
    return "—" if math.isnan(rate) else signed(rate)


def _rate(rate: float) -> str:
    return f"{signed(rate)} nats/layer ({factor(rate)})"
