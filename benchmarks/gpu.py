"""All that is unmeasured on a GPU, in one command of a few minutes: the most valuable part first.

Each part runs in a process of its own and is killed at its time limit, so that a hang, a crash or too little memory
costs only that part. Its limit is its share of what is left of --minutes; time that it does not use goes to the parts
that follow. Results are in the JSON file as they come, and the file is whole at any time, also after a kill. At the end
a table is printed. docs/gpus.md states what the parts measure, and how to carry the dependencies to a machine without a
network.

To try the command where there is no GPU: --device cpu --tiny, about a minute on one core.
"""

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks._harness import check_device, option_parser, write_json
from benchmarks.gpu_parts.parts import FINDING, PARTS, Part, Record, run_part, share
from start_training.runs.provenance import commit, versions
from start_training.settings import positive_number

LEAST = 1.0  # seconds in which no part could begin
TRY = "; to try the command on a CPU, type --device cpu --tiny"
WIDTH = 80
NAMES = [part.name for part in PARTS]
OPTIONS: dict[str, Mapping[str, Any]] = {
    "minutes": {"type": float, "default": 8.0, "help": "for all parts together; 8 by default"},
    "out": {"type": Path, "default": Path("gpu.json"), "help": "the JSON file; gpu.json by default"},
    "parts": {"nargs": "+", "choices": NAMES, "metavar": "PART", "help": ", ".join(NAMES)},
    "device": {"default": "cuda", "help": "cuda (default) or cpu"},
    "tiny": {"action": "store_true", "help": "small sizes, to try whether everything runs"},
}


def main(arguments: Sequence[str]) -> None:
    """Run the parts, write the results to the JSON file as they come, and print a table of them."""
    options = option_parser(__name__, OPTIONS).parse_args(arguments)
    device, seconds = check_device(options.device, advice=TRY), 60 * positive_number("minutes", options.minutes)
    parts = [part for part in PARTS if part.name in (options.parts or NAMES)]
    written: Record = {
        "command": {"device": device, "tiny": options.tiny, "minutes": options.minutes},
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "parts": {part.name: {"state": "not begun"} for part in parts},
    }
    write_json(options.out, written)
    handler = signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    try:
        run_parts(parts, written, seconds=seconds, out=options.out)
    finally:
        signal.signal(signal.SIGTERM, handler)
        Console(width=max(Console().width, WIDTH)).print(parts_table(parts, written["parts"]))
        print(f"written to {options.out}")


def run_parts(parts: Sequence[Part], written: Record, *, seconds: float, out: Path) -> None:
    """Run all of them within so many seconds; their records go into written["parts"], and into the file."""
    device, tiny = written["command"]["device"], written["command"]["tiny"]
    deadline, console = time.monotonic() + seconds, Console()
    for index, part in enumerate(parts):
        left = deadline - time.monotonic()

        def changed(record: Record, name: str = part.name) -> None:
            written["parts"][name] = record
            write_json(out, written)

        if left < LEAST:
            changed({"state": "not begun", "reason": "no time left"})
            continue
        limit = share(left, [later.weight for later in parts[index:]])
        with console.status(f"{part.name}, at most {limit:.0f} s: {part.question}"):
            run_part(part, device=device, tiny=tiny, seconds=limit, changed=changed)


def parts_table(parts: Sequence[Part], records: Mapping[str, Record]) -> Table:
    """The question of each part, and a row for each of its cases: its finding, or why there is none."""
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
            finding = escape(str(result.get(FINDING, "done"))) if result["state"] == "done" else _state(result)
            table.add_row(escape(f"  {result['what']}"), finding, _seconds(result))
    return table


def _state(ended: Record) -> str:
    return escape(": ".join(filter(None, (ended["state"], ended.get("reason")))))


def _seconds(ended: Record) -> str:
    return f"{ended['seconds']:.1f}" if ended.get("seconds") is not None else ""
