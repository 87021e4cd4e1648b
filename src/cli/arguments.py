"""Parse command-line arguments, and report a mistake in them like any other, in one line and with status 1."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from start_training.config.errors import UsageError


def parse(
    parser: argparse.ArgumentParser, words: Sequence[str] | None = None, *, intermixed: bool = False
) -> argparse.Namespace:
    """Parse command-line arguments.

    Args:
        parser: its program name is used in the error message.
        words: the arguments; None: those of this process.
        intermixed: whether options may stand between the positional arguments.
    Raises:
        UsageError: an argument is missing, unknown, or has a value that is not allowed. argparse by itself would print
            its usage and exit with status 2.
    """

    def fail(message: str) -> NoReturn:
        raise UsageError(f"{message}; type {parser.prog} --help to see what is allowed")

    parser_: Any = parser  # a type checker does not allow to replace a method
    parser_.error = fail
    return parser.parse_intermixed_args(words) if intermixed else parser.parse_args(words)
