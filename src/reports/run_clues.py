"""Infer from the loss curves of a run which settings to change (clues)."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import read_metrics
from start_training.schedules.clues import Clues, read_clues
from start_training.schedules.curves import Curves
from start_training.schedules.regularization import Regularizers, advise

COLUMNS = ("train/loss", "val/loss", "val/accuracy", "learning_rate")


def clues_of(
    run: RunDirectory, config: Mapping[str, Any], *, classes: int | None = None, diverged_at: int | None = None
) -> dict[str, Any]:
    """Read the clues of a run that has ended from the losses of its epochs.

    For a run that consists of a range test only, the losses of the test are used, and `advice` is empty, since the test
    gives its own.

    Args:
        run: The run's directory.
        config: The run's config.
        classes: The number of classes, whose logarithm is the loss of uniform guessing; None if unknown.
        diverged_at: The step whose loss was not finite; None if the run has not diverged.
    Returns:
        The fields of `start_training.schedules.clues.Clues`, and `advice` on settings to change.
    """
    epochs = epochs_of(run)
    if epochs.empty and diverged_at is None and (test := run.rows("range_test")) is not None:
        read = _read(test, "train_loss", "val_loss", "val_accuracy", classes, None)
        return {**asdict(read), "advice": ""}
    read = _read(epochs, "train/loss", "val/loss", "val/accuracy", classes, diverged_at)
    return {**asdict(read), "advice": advise(read.verdict, Regularizers.of(config), rate=read.rate)}


def epochs_of(run: RunDirectory) -> pd.DataFrame:
    """Return the rows of metrics.csv that have a training or a validation loss; missing values are NaN."""
    rows = pd.DataFrame(list(read_metrics(run.metrics_file).values()), columns=["step", *COLUMNS], dtype=float)
    return rows[rows["train/loss"].notna() | rows["val/loss"].notna()].sort_values("step")


def sentence(clues: Mapping[str, Any]) -> str:
    """Describe the entry `clues` of a run's summary in one sentence."""
    return "; ".join(part for part in (clues["text"], clues["advice"]) if part)


def _read(
    rows: pd.DataFrame, training: str, validation: str, accuracy: str, classes: int | None, diverged_at: int | None
) -> Clues:
    curves = Curves.of(
        rows["step"],
        rows[training],
        rows[validation],
        rates=rows["learning_rate"],
        val_accuracy=rows[accuracy],
        chance=math.log(classes) if classes and classes > 1 else None,
        diverged_at=diverged_at,
    )
    return read_clues(curves)
