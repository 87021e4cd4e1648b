"""Run a benchmark: python scripts/benchmark.py NAME [OPTIONS]. NAME --help prints the options of that benchmark."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from start_training.cli.arguments import parse
from start_training.config.errors import run
from start_training.settings import one_of

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    names = sorted(file.stem for file in (ROOT / "benchmarks").glob("[!_]*.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help=", ".join(names))
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTIONS", help="options of the benchmark")
    arguments = parse(parser)
    name = one_of("benchmark", arguments.name, names)

    from start_training.training.train import quiet_lightning  # imported after parsing: --help needs no torch

    sys.path.insert(0, str(ROOT))  # makes benchmarks/ importable from any working directory
    benchmark = import_module(f"benchmarks.{name}")
    with quiet_lightning():
        benchmark.main(arguments.options)


if __name__ == "__main__":
    run(main)
