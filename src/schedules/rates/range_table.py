"""The table of a range test: its columns, its validated rows, and where training diverged."""

import math

import numpy as np
import pandas as pd

from start_training.tasks.merit import ACCURACY, Merit

COLUMNS = ("step", "learning_rate", "train_loss", "val_loss", "val_accuracy")  # val_accuracy is NaN for other scores


def columns_of(merit: Merit) -> tuple[str, ...]:
    """Return the columns of a range test's table: `COLUMNS`, and one for a score other than accuracy.

    Example:
        >>> columns_of(Merit("r2"))[-2:]
        ('val_accuracy', 'val_r2')
    """
    return COLUMNS if merit.score in ("", ACCURACY.score) else (*COLUMNS, merit.column("val"))


def score_column(curves: pd.DataFrame) -> str:
    """Return the name of the column of a range test's table that holds the score, such as `val_accuracy`."""
    others = [str(name) for name in curves if str(name).startswith("val_") and name not in COLUMNS]
    return next((name for name in others if curves[name].notna().any()), COLUMNS[-1])


def recorded_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a sweep's table without the columns of settings and metrics, whose names have a dot or a slash."""
    return table[[name for name in table if not {".", "/"} & set(str(name))]]


def validated(curves: pd.DataFrame, merit: Merit) -> pd.DataFrame:
    """Return the validated rows of a range test's table, with the score as the column `score`: NaN if it has none."""
    score = curves.get(merit.column("val"), pd.Series(math.nan, curves.index))
    return curves.assign(score=score)[curves["val_loss"].notna() | score.notna()]


def diverged_at(curves: pd.DataFrame) -> int | None:
    """Return the last step of a range test if its training or validation loss is not finite, else None."""
    last = curves.iloc[-1]
    seen = pd.notna(last["val_loss"]) or pd.notna(last[score_column(curves)])
    lost = not np.isfinite(last["train_loss"]) or (seen and not np.isfinite(last["val_loss"]))
    return int(last["step"]) if lost else None
