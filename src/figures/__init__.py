"""What is drawn: arrays and tables in, a matplotlib Figure out. Here: which table of a sweep a figure takes."""

from collections.abc import Callable
from typing import Any, TypeVar

from start_training.settings import one_of

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT = "runs"
TABLES = (DEFAULT, "epochs", "range_test", "phase", "growth")


def draws(table: str) -> Callable[[F], F]:
    """Declare which table of a sweep a figure function takes: a decorator.

    A function without it is drawn from `runs`.

    Args:
        table: `runs`, a row for each run (`start_training.analysis.sweep_table`); or rows below each other for every
            run (`start_training.analysis.sweep_curves`): `epochs`, those of metrics.csv; `range_test`, the steps of
            its range test; `phase`, the phases of its layers; `growth`, those with the lengths of the same layers.

    Raises:
        ValueError: there is no such table.

    Example:
        >>> @draws("epochs")
        ... def draw_losses(table): ...
        >>> table_of_figure(draw_losses), table_of_figure(print)
        ('epochs', 'runs')
    """
    one_of("table", table, TABLES)

    def declare(function: F) -> F:
        function.drawn_table = table  # type: ignore[attr-defined]
        return function

    return declare


def table_of_figure(function: Callable[..., Any]) -> str:
    """The table that a figure function takes."""
    return str(getattr(function, "drawn_table", DEFAULT))
