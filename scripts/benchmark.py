"""Run a benchmark of src/benchmarks: python scripts/benchmark.py NAME [OPTIONS]; NAME --help shows its options."""

import argparse
from importlib import import_module
from pathlib import Path

import start_training.benchmarks
from start_training.jobs.command_line import run
from start_training.settings import one_of


def main() -> None:
    folder = Path(start_training.benchmarks.__path__[0])
    names = sorted(file.stem for file in folder.glob("[!_]*.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help=", ".join(names))
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTIONS", help="the benchmark's own")
    arguments = parser.parse_args()
    name = one_of("benchmark", arguments.name, names)

    from start_training.jobs.train import quiet_lightning  # after parsing, so that --help does not wait for torch

    benchmark = import_module(f"start_training.benchmarks.{name}")
    with quiet_lightning():
        benchmark.main(arguments.options)


if __name__ == "__main__":
    run(main)
