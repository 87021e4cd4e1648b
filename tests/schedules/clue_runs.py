"""The stored curves of the runs that clues are held to (`clue_cases`), from `scripts/verify.py clues`, and verdicts."""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from start_training.schedules.clue_verdicts import Clues
from start_training.schedules.clues import read_clues
from start_training.schedules.curves import Curves
from start_training.schedules.regularization import advise
from start_training.schedules.regularizers import Regularizers
from tests.schedules.clue_cases import RIGHT, Case, cases, references, shows

FILE = Path(__file__).with_suffix(".json.gz")
Row = dict[str, Any]


class Judged(NamedTuple):
    """A run that shows what was provoked in it, its clues, and whether they are right."""

    case: Case
    clues: Clues
    advice: str

    @property
    def right(self) -> bool:
        return self.clues.verdict in RIGHT[self.case.way]


def read_runs(file: Path = FILE) -> dict[str, Row]:
    """Return the stored runs by their names."""
    if not file.exists():
        return {}
    return {row["name"]: row for row in json.loads(gzip.decompress(file.read_bytes()))}


def write_runs(rows: Sequence[Row], file: Path = FILE) -> None:
    """Replace the file by one with these runs. It is compressed, and never half written."""
    scratch = file.with_suffix(".part")
    scratch.write_bytes(gzip.compress(json.dumps(rows).encode(), mtime=0))
    os.replace(scratch, file)


def clues_of_row(row: Mapping[str, Any]) -> tuple[Clues, str]:
    """Read the clues of a stored run as those of a run are read, and the advice that follows from them."""
    settings = Regularizers(**row["settings"])
    curves = Curves.of(
        row["step"],
        _values(row["train"]),
        _values(row["val"]),
        rates=_values(row["rate"]),
        val_accuracy=None if row["accuracy"] is None else _values(row["accuracy"]),
        chance=row["chance"],
        diverged_at=row["diverged_at"],
    )
    clues = read_clues(curves, settings)
    return clues, advise(clues.verdict, settings, rate=clues.rate)


def judged(runs: Mapping[str, Row], *, aside: bool) -> list[Judged]:
    """Judge the stored runs that show what was provoked in them: those that were set aside, or the others."""
    lowest = references([*runs.values()])
    return [
        Judged(case, *clues_of_row(runs[case.name]))
        for case in cases()
        if case.aside == aside and case.name in runs and shows(runs[case.name], lowest.get(case.task, np.inf))
    ]


def table(runs: Mapping[str, Row]) -> str:
    """A row for each way: how many runs show it, and on how many of them the clues are right."""
    lines = ["| provoked | looked at: right of | set aside: right of |", "|---|---|---|"]
    parts = [judged(runs, aside=aside) for aside in (False, True)]
    for way in (*RIGHT, "all"):
        chosen = [[one for one in part if way in ("all", one.case.way)] for part in parts]
        cells = [f"{sum(one.right for one in part)} of {len(part)}" for part in chosen]
        lines.append("| " + " | ".join([way, *cells]) + " |")
    return "\n".join(lines)


def _values(column: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in column], np.float64)
