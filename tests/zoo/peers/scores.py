"""Verdicts of judges on the zoo: the files that hold them, and how many are right."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.zoo.labels import Labels, starts, write_rows
from tests.zoo.net import ZooNet
from tests.zoo.training import RATES

DIRECTORY = Path(__file__).parents[1] / "verdicts"
HEALTHY, SICK, REFUSED = "healthy", "sick", "refused"
Verdicts = dict[str, dict[str, Any]]  # by the name of the net


def file_of(judge: str, directory: Path = DIRECTORY) -> Path:
    return directory / f"{judge.replace(' ', '-')}.json"


def read_verdicts(judge: str, directory: Path = DIRECTORY) -> Verdicts:
    """Return the stored verdicts of a judge: `verdict`, `starts` (None: the same), `findings`, `version`, `seconds`."""
    file = file_of(judge, directory)
    return {row.pop("net"): row for row in json.loads(file.read_text())} if file.exists() else {}


def write_verdicts(verdicts: Verdicts, judge: str, directory: Path = DIRECTORY) -> None:
    """Replace the stored verdicts of a judge."""
    write_rows([{"net": net, **row} for net, row in sorted(verdicts.items())], file_of(judge, directory))


def truths(nets: Iterable[ZooNet], labels: Labels) -> dict[str, dict[str, bool]]:
    """The right answers by question and net.

    `starts`: it starts to train with one of SGD and Adam. `healthy`: it does, and was built without a defect.
    """
    nets = list(nets)
    start = {net.name: any(starts(net.name, optimizer, labels) for optimizer in RATES) for net in nets}
    return {"healthy": {net.name: start[net.name] and not net.defects for net in nets}, "starts": start}


@dataclass(frozen=True)
class Score:
    """How many verdicts are right.

    Args:
        right: nets judged as they are.
        false_alarms: nets called sick that are not.
        misses: nets called healthy that are not.
        refused: nets that the judge could not judge.
    """

    right: int = 0
    false_alarms: int = 0
    misses: int = 0
    refused: int = 0

    @property
    def asked(self) -> int:
        return self.right + self.false_alarms + self.misses + self.refused


def score(verdicts: Verdicts, truth: Mapping[str, bool], question: str = "healthy") -> Score:
    """Compare verdicts with the truth about those nets; a judge with one verdict gives it to both questions."""
    counts = Counter[str]()
    for name, row in verdicts.items():
        if name not in truth:
            continue
        said = row["verdict"] == HEALTHY
        if question == "starts" and row["starts"] is not None:
            said = row["starts"]
        if row["verdict"] == REFUSED:
            counts["refused"] += 1
        elif said == truth[name]:
            counts["right"] += 1
        else:
            counts["misses" if said else "false_alarms"] += 1
    return Score(**counts)


def reasons(verdicts: Verdicts, names: Iterable[str], count: int = 3) -> str:
    """The commonest first findings about some nets, without names and numbers, and how often each was given."""
    first = Counter(_kind(verdicts[name]["findings"]) for name in names if name in verdicts)
    return "; ".join(f"{number} × {kind}" for kind, number in first.most_common(count))


def _kind(findings: list[str]) -> str:
    text = re.sub(r"'[^']*'|\b[\w]*\.[\w.]+\b|\d+(\.\d+)?(e[-+]?\d+)?", "…", findings[0] if findings else "no reason")
    return text if len(text) <= 90 else f"{text[:89]}…"


def markdown(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
