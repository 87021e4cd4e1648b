"""Rebuild the trained net of a run directory and test it again."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from start_training.cli.arguments import parse


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="evaluate", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--accelerator", default="cpu", help="cpu (default), gpu or auto")
    parser.add_argument(
        "--data-dir",
        help="directory of the data sets; default: $DATA_DIR, or if that is unset, the directory in the run's config",
    )
    arguments = parse(parser, words)

    from rich.console import Console  # imported after parsing: --help needs no torch

    from start_training.reports.run_report import metrics_table
    from start_training.training.evaluate import evaluate

    metrics = evaluate(arguments.directory, accelerator=arguments.accelerator, data_dir=arguments.data_dir)
    Console().print(metrics_table(metrics))
