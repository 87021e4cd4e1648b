"""Run a test campaign that is too slow for the test suite: python scripts/verify.py NAME [OPTIONS]. See NAME --help."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from start_training.cli.arguments import parse
from start_training.config.errors import run

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("bounds", "fuzz", "kills", "mutate", "peers", "range_rates", "signals", "verdicts", "zoo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTIONS", help="options of the campaign")
    arguments = parse(parser)
    sys.path.insert(0, str(ROOT))  # makes tests/ importable from any working directory
    sys.exit(import_module(f"tests.campaigns.{arguments.name}").main(arguments.options))


if __name__ == "__main__":
    run(main)
