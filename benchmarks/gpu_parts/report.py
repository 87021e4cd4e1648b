"""What `benchmark.py gpu` found, as a file that is whole at any time, and as a table of 80 columns."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from benchmarks.gpu_parts.parts import FINDING, Part
from start_training.runs.directory import finite

WIDTH = 80


def write_whole(file: Path, written: Mapping[str, Any]) -> None:
    """Replace the file in one go: whoever reads it, and whatever kills this process, it is JSON."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(json.dumps(finite(written), indent=2) + "\n")
    os.replace(beside, file)


def results_table(parts: list[Part], records: Mapping[str, Mapping[str, Any]]) -> Table:
    """For each part what it asks, and a row for each measurement: its finding, or why there is none."""
    table = Table(box=SIMPLE, width=WIDTH, pad_edge=False)
    table.add_column("measurement", ratio=2)
    table.add_column("finding", ratio=3)
    table.add_column("seconds", justify="right", no_wrap=True)
    for part in parts:
        record = records[part.name]
        table.add_section()
        table.add_row(f"[bold]{part.name}[/]", f"[bold]{escape(part.question)}[/]", _seconds(record))
        if record["state"] not in ("done", "running"):
            table.add_row("", _state(record))
        for result in record.get("results", []):
            table.add_row(escape(f"  {result['what']}"), _finding(result), _seconds(result))
    return table


def _finding(result: Mapping[str, Any]) -> str:
    return escape(str(result.get(FINDING, "done"))) if result["state"] == "done" else _state(result)


def _state(ended: Mapping[str, Any]) -> str:
    return escape(": ".join(filter(None, (ended["state"], ended.get("reason")))))


def _seconds(ended: Mapping[str, Any]) -> str:
    return f"{ended['seconds']:.1f}" if ended.get("seconds") is not None else ""
