"""A diagnosis for the terminal, and for an appendix: a table of layers, theory beside measurement, words, advice."""

import io
import math

import numpy as np
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from start_training.diagnosis.advice import factor
from start_training.diagnosis.findings import Findings
from start_training.tables import shown_layers
from start_training.theory.verdict import FM1, FM2, Verdict

WIDTH = 110
LEGEND = (
    "length: of the median net. forward, backward: nats per layer, log of the mean ratio of lengths M_j/M_{j−1},\n"
    "and of squared gradients on the way back. silent: share of units that are 0 on every sample."
)


def as_text(diagnosis: Findings) -> str:
    """The report without colours."""
    console = Console(file=io.StringIO(), width=WIDTH, no_color=True)
    console.print(render(diagnosis))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip()


def render(diagnosis: Findings) -> Group:
    """All of it."""
    layers, rates = layers_table(diagnosis), rates_table(diagnosis)
    return Group(layers, Text(LEGEND, style="dim"), rates, verdict_lines(diagnosis), advice_lines(diagnosis))


def layers_table(diagnosis: Findings) -> Table:
    """Per layer: length of the median net, rates measured and in theory, silent units."""
    measured, prediction = diagnosis.measurement, diagnosis.prediction
    table = Table(title=f"{diagnosis.name}: {measured.nets} initializations, batch of {diagnosis.batch}")
    table.title_justify = "left"
    theory = () if prediction is None else ("theory",)
    for heading in ("layer", "name", "length M", "forward", *theory, "backward", "silent"):
        table.add_column(heading, justify="left" if heading == "name" else "right", overflow="fold")
    lengths = np.median(measured.lengths, axis=0)
    for layer in shown_layers(len(measured.names)):
        forward, backward = (
            _nats(rates.log[layer - 1]) if layer else "" for rates in (measured.forward, measured.backward)
        )
        predicted = [] if prediction is None else [_nats(prediction.forward[layer - 1]) if layer else ""]
        row = [f"{lengths[layer]:.3g}", forward, *predicted, backward, f"{measured.silent[layer]:.0%}"]
        table.add_row(str(layer), measured.names[layer], *row)
    return table


def rates_table(diagnosis: Findings) -> Table:
    """The numbers of the verdict: measured, and in theory."""
    measured, theory, limits = diagnosis.measured, diagnosis.predicted, diagnosis.verdict.thresholds
    table = Table("the whole net", "measured", "theory", "threshold", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"

    def row(name: str, ours: str, theirs: str, limit: str = "") -> None:
        table.add_row(name, ours, theirs if theory else "—", limit)

    of = theory or measured
    row("forward, later half", _rate(measured.forward), _rate(of.forward))
    row("backward, later half", _rate(measured.backward), _rate(of.backward))
    error = f" ± {measured.error:.2g}" if measured.error else ""
    row("drift over all layers, nats", _signed(measured.drift) + error, _signed(of.drift), f"±{limits.drift:g}")
    row("spread (beta)", f"{measured.spread:.3g}", f"{of.spread:.3g}", f"{limits.beta:g}")
    dead, nets = int(diagnosis.measurement.dead.sum()), diagnosis.measurement.nets
    row("dead nets", f"{dead} of {nets}", f"{abs(of.dead):.1%}", f"{limits.dead:.0%}")
    deviation = diagnosis.measurement.log_deviation
    table.add_row("deviation of log M_d over nets", "—" if math.isnan(deviation) else f"{deviation:.2g}", "", "")
    return table


def verdict_lines(diagnosis: Findings) -> Group:
    """The verdict in words."""
    verdict = diagnosis.verdict
    healthy = "HEALTHY" if verdict.healthy else f"UNHEALTHY: {' and '.join(verdict.failure_modes)}"
    head = Text(healthy, style="bold green" if verdict.healthy else "bold red")
    lines = [first_mode(verdict, diagnosis.measurement.depth), second_mode(verdict)]
    if diagnosis.predicted:
        lines.append(agreement(diagnosis))
    return Group(head, *(Padding(Text(line), (0, 0, 0, 2)) for line in lines))


def first_mode(verdict: Verdict, depth: int) -> str:
    """Failure mode 1: rate, where it starts, whether it goes on."""
    limit = verdict.thresholds.drift
    back = abs(verdict.backward) > abs(verdict.forward) * (1 + 1e-3)
    rate, what = (verdict.backward, "squared gradients, going back,") if back else (verdict.forward, "lengths")
    if not math.isfinite(verdict.drift):
        return f"{FM1} yes: {what} vanish or overflow from layer {(verdict.starts or 0) + 1} on."
    drift = f"{_signed(verdict.drift)}{f' ± {verdict.error:.2g}' if verdict.error else ''} nats over {depth} layers"
    if FM1 in verdict.failure_modes:
        verb = "grow" if rate > 0 else "shrink"
        fed = back and rate < 0 and abs(verdict.forward) * depth < limit
        plateau = (
            " Lengths have settled on a plateau that biases feed; what differs between inputs dies out." if fed else ""
        )
        return (
            f"{FM1} yes: {what} {verb} by {factor(rate)} per layer ({_signed(rate)} nats/layer), from layer "
            f"{(verdict.starts or 0) + 1} on, and this goes on with depth: {drift}, beyond ±{limit:g}.{plateau}"
        )
    settled = (
        f" Lengths change by {factor(verdict.total)} in all and settle: the later half hardly adds to it."
        if verdict.settles
        else ""
    )
    return (
        f"{FM1} no: {what} change by {factor(rate)} per layer over the later half: {drift}, within ±{limit:g}.{settled}"
    )


def second_mode(verdict: Verdict) -> str:
    """Failure mode 2: beta, spread, dead nets."""
    limits, spread = verdict.thresholds, verdict.spread
    said = (
        f"{FM2} {'yes' if FM2 in verdict.failure_modes else 'no'}: beta {spread:.3g} (threshold {limits.beta:g}): "
        f"one net's log-length strays from another's by ±{math.sqrt(5 * max(spread, 0)):.2g} nats, "
        f"lengths by {factor(math.sqrt(5 * max(spread, 0)))}"
    )
    return f"{said}; {abs(verdict.dead):.1%} of nets are dead (threshold {limits.dead:.0%})."


def agreement(diagnosis: Findings) -> str:
    """Whether measurement finds what theory says."""
    if diagnosis.agrees:
        return "Theory decides, and the measurement agrees."
    found = " and ".join(diagnosis.measured.failure_modes) or "no failure mode"
    says = " and ".join(diagnosis.verdict.failure_modes) or "none"
    return f"The measurement finds {found}, theory {says}: theory decides; more nets would tell (nets=…)."


def advice_lines(diagnosis: Findings) -> Group:
    """What to change, numbered, each with its effect."""
    lines = []
    for number, advice in enumerate(diagnosis.advice, start=1):
        typed = f" [{' '.join(advice.overrides)}]" if 0 < len(" ".join(advice.overrides)) <= 80 else ""
        lines.append(Padding(Text(f"{number}. {advice.action}.{typed}", style="bold"), (0, 0, 0, 2)))
        lines.append(Padding(Text(f"→ {advice.effect}."), (0, 0, 0, 5)))
    return Group(Text("What to change", style="bold"), *lines) if lines else Group()


def _nats(rate: float) -> str:
    return "—" if math.isnan(rate) else _signed(rate)


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _rate(rate: float) -> str:
    return f"{_signed(rate)} nats/layer ({factor(rate)})"
