"""Functions that draw arrays and tables as matplotlib figures, and the registry of the tables that they need."""

from collections.abc import Callable
from typing import Any, TypeVar

from start_training.settings import one_of

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT = "runs"
TABLES = (DEFAULT, "epochs", "range_test", "phase", "growth")


def draws(table: str) -> Callable[[F], F]:
    """Decorate a figure function with the name of the sweep's table that it draws.

    A function without this decorator draws the table `runs`.

    Args:
        table: `runs`, one row for each run (`start_training.analysis.sweep_table`), or a long table with several rows
            for each run (`start_training.analysis.sweep_curves`): `epochs`, the rows of metrics.csv; `range_test`, the
            steps of a range test; `phase`, the phases of layers; `growth`, phases and lengths of the same layers.

    Returns:
        The decorator, which returns the function itself.

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
        vars(function)["drawn_table"] = table  # an attribute, so that `functools.wraps` hands it on
        return function

    return declare


def table_of_figure(function: Callable[..., Any]) -> str:
    """Return the name of the table that a figure function draws, as declared by `draws`; `runs` by default."""
    return str(getattr(function, "drawn_table", DEFAULT))
