"""Checks on the columns of a sweep's table, and the values of a setting as text."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

# Columns that the tables of figures may have besides the settings that a sweep changes, and besides metrics (a/b).
RECORDED = {
    "directory", "name", "status", "reason", "seed", "configuration", "varied", "start_epoch", "start_step",
    "started", "observed_epoch", "max_epochs", "start_metric", "start_threshold", "depth", "beta", "growth_rate",
    "layer_variance", "relative_layer_variance", "log_growth", "steps", "epochs", "seconds", "config_hash", "step",
    "epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "max_lr", "min_lr", "cyclical_min_lr",
    "turned", "rule", "diverged_at", "best_val_loss", "best_val_accuracy", "min_rate_tested", "max_rate_tested",
    "ramp", "layer", "layer_name", "fan_in", "fan_out", "J0", "J", "J2", "bias_variance", "jacobian", "lyapunov",
    "slope", "slope_error", "scaling", "eta", "alpha", "batch", "weight_decay", "edge_at_1", "constant",
    "lowest_test_loss_epoch", "lowest_test_loss", "J_at_lowest_test_loss", "skip", "iterations", "starts",
    "activation", "length_before", "length", "final_accuracy", "simulation", "nets",
}  # fmt: skip
COLUMN_SETTINGS = ("by", "x", "panel")  # settings of figures that name columns


def check_chosen_columns(figure: Mapping[str, Any], settings: Collection[str]) -> None:
    """Check the columns that a figure's settings name, before the sweep has run that fills the table.

    Args:
        figure: The `figure` node of a config.
        settings: The settings that the jobs of the sweep override; a table has a column for each.

    Raises:
        ValueError: no table has a column of this name.
    """
    for option in COLUMN_SETTINGS:
        chosen = figure.get(option)
        for column in chosen if isinstance(chosen, list) else [chosen]:
            known = column is None or column in settings or column in RECORDED
            if not known and not str(column).startswith("final_") and "/" not in str(column):
                changed = ", ".join(sorted(settings)) or "none"
                raise ValueError(
                    f"figure.{option} = {column}: no such column of the sweep's table; must be a setting that the "
                    f"sweep changes ({changed}), a metric, or one of {', '.join(sorted(RECORDED))}"
                )


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
