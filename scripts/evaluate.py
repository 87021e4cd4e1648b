"""Rebuild a run from its directory and test it again: python scripts/evaluate.py RUN_DIRECTORY."""

import argparse
import os
from pathlib import Path

from src.jobs.command_line import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--accelerator", default="cpu", help="cpu (default), gpu or auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("DATA_DIR"), help="where the data lie now, if not where they lay"
    )
    arguments = parser.parse_args()

    from rich.console import Console  # after parsing, so that --help does not wait for torch

    from src.jobs.evaluate import evaluate
    from src.jobs.report import metrics_table

    metrics = evaluate(arguments.directory, accelerator=arguments.accelerator, data_dir=arguments.data_dir)
    Console().print(metrics_table(metrics))


if __name__ == "__main__":
    run(main)
