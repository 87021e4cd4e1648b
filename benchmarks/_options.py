"""The options that every benchmark has."""

import argparse
from pathlib import Path


def parser(name: str, description: str | None, *, quick: str, device: bool = True) -> argparse.ArgumentParser:
    """A parser with --quick, --threads, --out and, unless it only runs on a CPU, --device."""
    made = argparse.ArgumentParser(prog=f"benchmark.py {name}", description=description)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--threads", type=int, help="of torch; its own choice by default")
    made.add_argument("--out", type=Path, help="a JSON file for the numbers")
    if device:
        made.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    else:
        made.set_defaults(device="cpu")
    return made
