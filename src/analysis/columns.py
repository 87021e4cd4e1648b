"""Checks on the columns of a sweep's table, and the values of a setting as text."""

from typing import Any

import pandas as pd


def check_column(name: str, column: str, table: pd.DataFrame, *, numeric: bool = False) -> None:
    """Check that a table has a column.

    Args:
        name: Name of the setting that selects the column, for the message.
        column: Name of the column, the value of that setting.
        table: A table of a sweep.
        numeric: Whether the column must hold numbers.

    Raises:
        ValueError: the table has no such column, or `numeric` is True and the column does not hold numbers.
    """
    existing = [key for key in table if not numeric or pd.api.types.is_numeric_dtype(table[key])]
    if column not in existing:
        kind = "numeric column" if numeric else "column"
        raise ValueError(
            f"{name} = {column}: the sweep's table has no such {kind}; choose one of {', '.join(map(str, existing))}"
        )


def setting_text(value: Any) -> str:
    """Return the value of a setting as text; a missing value, which the run did not override, becomes `default`.

    Example:
        >>> setting_text(0.10), setting_text(float("nan")), setting_text("he_normal")
        ('0.1', 'default', 'he_normal')
    """
    if pd.isna(value):
        return "default"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
