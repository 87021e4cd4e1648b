"""Run all benchmarks and correctness checks for a GPU in a few minutes, the most important part first.

Each part runs in its own process and is killed at its time limit, so that a hang, a crash or too little memory only
affects this part. The limit of a part is its share of the remaining --minutes; time that it does not use goes to later
parts. Results are written to the JSON file as soon as they are known, and the file is valid JSON at any time, even
after a kill. At the end a table is printed. docs/gpus.md describes what the parts measure, and how to install the
dependencies on a machine without a network.

To try the command without a GPU, type --device cpu --tiny; this takes about a minute on one core.
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
from start_training.cli.arguments import parse
from start_training.runs.provenance import commit, versions
from start_training.settings import positive_number

LEAST = 1.0  # seconds that have to remain for a part to begin
TRY = "; to try the command on a CPU, type --device cpu --tiny"
WIDTH = 80
NAMES = [part.name for part in PARTS]
OPTIONS: dict[str, Mapping[str, Any]] = {
    "minutes": {"type": float, "default": 8.0, "help": "time limit of all parts together, in minutes (default 8)"},
    "out": {"type": Path, "default": Path("gpu.json"), "help": "file for the results (default gpu.json)"},
    "parts": {"nargs": "+", "choices": NAMES, "metavar": "PART", "help": f"parts to run: {', '.join(NAMES)}"},
    "device": {"default": "cuda", "help": "device to measure, cuda (default) or cpu"},
    "tiny": {"action": "store_true", "help": "use small sizes, to try whether all parts run"},
}


def main(arguments: Sequence[str]) -> None:
    """Run the parts, write each result to the JSON file as soon as it is known, and print a table of all results."""
    options = parse(option_parser(__name__, OPTIONS), arguments)
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
        print(f"results are in {options.out}")


def run_parts(parts: Sequence[Part], written: Record, *, seconds: float, out: Path) -> None:
    """Run all parts within a number of seconds; their records are added to `written["parts"]` and to the file `out`."""
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
        with console.status(f"running {part.name} (at most {limit:.0f} s): {part.question}"):
            run_part(part, device=device, tiny=tiny, seconds=limit, changed=changed)


def parts_table(parts: Sequence[Part], records: Mapping[str, Record]) -> Table:
    """Return a table with the question of each part, and the finding of each of its cases or why there is none."""
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
