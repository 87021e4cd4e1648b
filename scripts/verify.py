"""Run a campaign, which takes too long for every change: python scripts/verify.py NAME [OPTIONS]; NAME --help."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("bounds", "fuzz", "kills", "mutate", "signals")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTIONS", help="the campaign's own")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # where tests/ is found from any directory
    return import_module(f"tests.campaigns.{arguments.name}").main(arguments.options)


if __name__ == "__main__":
    sys.exit(main())
