"""All that is unmeasured on a GPU, in one command of a few minutes: the most valuable part first.

Each part runs in a process of its own and is killed at its time limit, so that a hang, a crash or too little memory
costs that part alone. Its limit is its share of what is left of --minutes; what it leaves goes to those that follow.
Results are in the JSON file as they come, and the file is whole at any time, also after a kill. At the end comes a
table. docs/gpus.md says what the parts measure, and how to carry the dependencies to a machine without a network.

To try the command where there is no GPU: --device cpu --tiny, about a minute on one core.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console

from benchmarks.gpu_parts.parts import PARTS, Part, share
from benchmarks.gpu_parts.process import run_part
from benchmarks.gpu_parts.report import WIDTH, results_table, write_whole
from start_training.runs.provenance import commit, versions
from start_training.settings import one_of, positive_number

LEAST = 1.0  # seconds in which no part could begin
TRY = "to try the command on a CPU, type --device cpu --tiny"


def main(arguments: Sequence[str]) -> None:
    """Run the parts, write what comes to the JSON file as it comes, and print a table of it."""
    options = _parser().parse_args(arguments)
    device, seconds = checked_device(options.device), 60 * positive_number("minutes", options.minutes)
    parts = [part for part in PARTS if part.name in (options.parts or [each.name for each in PARTS])]
    written: dict[str, Any] = {
        "command": {"device": device, "tiny": options.tiny, "minutes": options.minutes},
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions(),
        "parts": {part.name: {"state": "not begun"} for part in parts},
    }
    write_whole(options.out, written)
    handler = signal.signal(signal.SIGTERM, _leave)
    try:
        run_parts(parts, written, seconds=seconds, out=options.out)
    finally:
        signal.signal(signal.SIGTERM, handler)
        Console(width=max(Console().width, WIDTH)).print(results_table(parts, written["parts"]))
        print(f"written to {options.out}")


def checked_device(device: str) -> str:
    """`cpu`, or `cuda` where torch finds one. Raises ValueError."""
    one_of("device", device, ("cpu", "cuda"))
    if device == "cuda" and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        raise ValueError(f"device = cuda: torch {torch.__version__}, built for {built}, finds no GPU here; {TRY}")
    return device


def run_parts(parts: Sequence[Part], written: dict[str, Any], *, seconds: float, out: Path) -> None:
    """All of them within so many seconds, into written["parts"] and the file."""
    device, tiny = written["command"]["device"], written["command"]["tiny"]
    deadline, console = time.monotonic() + seconds, Console()
    for index, part in enumerate(parts):
        left = deadline - time.monotonic()

        def changed(record: dict[str, Any], name: str = part.name) -> None:
            written["parts"][name] = record
            write_whole(out, written)

        if left < LEAST:
            changed({"state": "not begun", "reason": "no time left"})
            continue
        limit = share(left, [each.weight for each in parts[index:]])
        with console.status(f"{part.name}, at most {limit:.0f} s: {part.question}"):
            run_part(part, device=device, tiny=tiny, seconds=limit, changed=changed)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmark.py gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [part.name for part in PARTS]
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together; 8 by default")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the JSON file; gpu.json by default")
    parser.add_argument("--parts", nargs="+", choices=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try whether everything runs")
    return parser
