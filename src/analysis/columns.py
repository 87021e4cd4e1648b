"""Columns of a sweep's table: whether one is there, and the values of a setting as text."""

import pandas as pd


def check_column(name: str, column: str, table: pd.DataFrame, *, numeric: bool = False) -> None:
    """Check that a table has a column.

    Args:
        name: The setting that names the column, for the message.
        column: Its value.
        table: A table of a sweep.
        numeric: Whether the column must hold numbers.

    Raises:
        ValueError: the table has no such column, or it holds no numbers.
    """
    existing = [key for key in table if not numeric or pd.api.types.is_numeric_dtype(table[key])]
    if column not in existing:
        kind = "column of numbers" if numeric else "column"
        raise ValueError(
            f"{name} = {column}: no {kind} of the sweep's table; there are {', '.join(map(str, existing))}"
        )


def setting_text(value: object) -> str:
    """The value of a setting as text; missing, where a run did not override it, is `default`.

    Example:
        >>> setting_text(0.10), setting_text(float("nan")), setting_text("he_normal")
        ('0.1', 'default', 'he_normal')
    """
    if pd.isna(value):  # type: ignore[call-overload]
        return "default"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
