"""The report of a diagnosis for a terminal: the verdict first, one line per finding, then what to do."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from start_training.diagnosis.advice import Advice
from start_training.diagnosis.finding import NO, YES, Finding
from start_training.diagnosis.starts import Start

WIDTH = 110  # columns of a report as text, or as many as the terminal has
COLOURS = {"HEALTHY": "bold green", "UNHEALTHY": "bold red", "UNCERTAIN": "bold yellow", "NOT JUDGED": "bold yellow"}
MARKS = {YES: ("✗", "red"), NO: ("✓", "green")}
NAMES = {"sgd": "SGD", "adam": "Adam"}


class Report(NamedTuple):
    """What a report states.

    Attributes:
        verdict: The verdict in a word.
        unjudged: Why the net is not judged; empty if it is.
        starts: Whether training starts, for each family of optimizers.
        findings: All findings.
        subject: What was diagnosed, and how.
        advice: What to change.
    """

    verdict: str
    unjudged: str
    starts: Mapping[str, Start]
    findings: Sequence[Finding]
    subject: str
    advice: Sequence[Advice]


def render(report: Report) -> Group:
    """Return the whole report of a diagnosis, to be printed by `rich`."""
    head = Text(headline(report), style=COLOURS[report.verdict])
    subject = Text(report.subject, style="dim")
    return Group(head, _starts(report.starts), _findings(report.findings), subject, _advice(report.advice))


def headline(report: Report) -> str:
    """Return the verdict in one sentence."""
    if report.unjudged:
        return f"NOT JUDGED: {report.unjudged}"
    by_answer: dict[str, list[str]] = {}
    for family, start in report.starts.items():
        by_answer.setdefault(start.answer, []).append(NAMES.get(family, family))
    words = {"yes": "training starts with", "no": "does not start with", "uncertain": "may start with"}
    parts = [
        f"{words.get(answer, answer)} {(' and ' if answer == 'yes' else ' or ').join(names)}"
        for answer, names in by_answer.items()
    ]
    defects = [finding.name for finding in report.findings if finding.bad and finding.defect]
    defective = f"defects: {', '.join(defects)}" if defects else "all of it takes part"
    return f"{report.verdict}: {', '.join(parts)}; {defective}"


def _starts(starts: Mapping[str, Start]) -> Table:
    table = _table()
    for family, start in starts.items():
        table.add_row("", f"{NAMES.get(family, family)} starts: {start.answer}", start.reason)
    return table


def _findings(findings: Sequence[Finding]) -> Group:
    table, absent = _table(), list[str]()
    order = sorted(findings, key=lambda one: (one.answer != YES, one.answer == NO))
    for finding in order:
        if finding.answer == NO and finding.value is None:
            absent.append(finding.name)
            continue
        mark, colour = MARKS.get(finding.answer, ("?", "yellow"))
        table.add_row(Text(mark, style=colour), finding.name, _text(finding))
    nothing = Text(f"nothing to see of: {', '.join(absent)}", style="dim") if absent else Text()
    return Group(table, Padding(nothing, (0, 0, 0, 2)))


def _text(finding: Finding) -> Text:
    words = finding.text if finding.answer in (YES, NO) else f"{finding.answer}: {finding.text}"
    text = Text(words, style="dim" if finding.answer == NO else "")
    if finding.bad and finding.todo:
        text.append(f" → {finding.todo}", style="bold")
    return text


def _advice(advice: Sequence[Advice]) -> Group:
    lines = []
    for number, one in enumerate(advice, start=1):
        overrides = f" [{' '.join(one.overrides)}]" if 0 < len(" ".join(one.overrides)) <= 80 else ""
        lines.append(Padding(Text(f"{number}. {one.action}.{overrides}", style="bold"), (0, 0, 0, 2)))
        lines.append(Padding(Text(f"→ {one.effect}."), (0, 0, 0, 5)))
    return Group(Text("What to change", style="bold"), *lines) if lines else Group()


def _table() -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(ratio=3, overflow="fold")
    return table
