"""The option --trust of commands that read run directories, which may be a stranger's."""

import argparse
import os
import sys
from collections.abc import Sequence


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option --trust to a parser; its value is a list of names."""
    parser.add_argument(
        "--trust",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="import what the config of a run names in this package, such as your own nets; may be repeated",
    )


def import_from_here(trust: Sequence[str]) -> None:
    """Let trusted packages be imported from the working directory.

    Without them nothing is imported from there, since it may be the run directory itself: a stranger's file in it could
    have the name of a package that a library imports if it is installed.

    Raises:
        ValueError: an entry of `trust` is not the name of a package.
    """
    from start_training.runs.trust import check_packages  # imported late: --help needs no torch

    check_packages(trust)
    if trust and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
