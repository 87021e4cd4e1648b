"""Infer from the loss curves of a run which settings to change (clues)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import read_metrics
from start_training.schedules.clue_verdicts import Clues
from start_training.schedules.clues import read_clues
from start_training.schedules.curves import Curves
from start_training.schedules.rates.range_table import score_column
from start_training.schedules.regularization import advise
from start_training.schedules.regularizers import Regularizers
from start_training.tasks.merit import ACCURACY, Merit

COLUMNS = ("train/loss", "val/loss", "learning_rate")
SMALL = 0.2  # last learning rate relative to the largest, below which a schedule has lowered it
R2 = ("val/r2", "val_r2")
ACCURACIES = (ACCURACY.metric("val"), ACCURACY.column("val"))  # other scores are not on the scale that clues read


def clues_of(
    run: RunDirectory,
    config: Mapping[str, Any],
    *,
    merit: Merit = ACCURACY,
    chance: float | None = None,
    diverged_at: int | None = None,
) -> dict[str, Any]:
    """Read the clues of a run that has ended from the losses of its epochs.

    For a run that consists of a range test only, the losses of the test are used, and `advice` is empty, since the test
    gives its own.

    Args:
        run: The run's directory.
        config: The run's config.
        merit: Names the score of the run's task.
        chance: The loss of a net that has learned nothing, log(number of classes) for a classifier; None if unknown.
        diverged_at: The step whose loss was not finite; None if the run has not diverged.
    Returns:
        The fields of `start_training.schedules.clues.Clues`, and `advice` on settings to change.
    """
    score, settings = merit.metric("val"), Regularizers.of(config)
    epochs = epochs_of(run, score)
    if epochs.empty and diverged_at is None and (test := run.rows("range_test")) is not None:
        column = score_column(test)
        chance = chance or chance_from_r2(config, test, "val_loss", column)
        read = _read(test, "train_loss", "val_loss", column, chance, None, None)
        return {**asdict(read), "advice": ""}
    chance = chance or chance_from_r2(config, epochs, "val/loss", score)
    read = _read(epochs, "train/loss", "val/loss", score, chance, diverged_at, settings)
    rates = epochs["learning_rate"].dropna()
    falls = len(rates) > 1 and bool(rates.iloc[-1] < SMALL * rates.max())
    return {**asdict(read), "advice": advise(read.verdict, settings, rate=read.rate, falls=falls)}


def epochs_of(run: RunDirectory, score: str = ACCURACY.metric("val")) -> pd.DataFrame:
    """Return the rows of metrics.csv that have a training or a validation loss; missing values are NaN."""
    columns = ["step", *COLUMNS, score]
    rows = pd.DataFrame(list(read_metrics(run.metrics_file).values()), columns=columns, dtype=float)
    return rows[rows["train/loss"].notna() | rows["val/loss"].notna()].sort_values("step")


def chance_from_r2(config: Mapping[str, Any], rows: pd.DataFrame, loss: str, score: str) -> float | None:
    """Return the mean squared error of predicting the mean, which is error/(1 − R²), or None if it is not known.

    Args:
        config: The run's config; a regression with a loss of its own has no squared errors.
        rows: The validations of the run.
        loss: The column of the validation loss.
        score: The column of the score; None is returned unless it is R².
    """
    if score not in R2 or (config.get("task") or {}).get("loss"):
        return None
    known = (rows[loss] / (1 - rows[score])).replace([np.inf, -np.inf], np.nan).dropna()
    return float(known.median()) if len(known) else None


def sentence(clues: Mapping[str, Any]) -> str:
    """Return the entry `clues` of a run's summary in words: what it is, the evidence, and what to try first."""
    return " ".join(part for part in (clues["text"], clues["advice"]) if part)


def _read(
    rows: pd.DataFrame,
    training: str,
    validation: str,
    score: str,
    chance: float | None,
    diverged_at: int | None,
    settings: Regularizers | None,
) -> Clues:
    curves = Curves.of(
        rows["step"],
        rows[training],
        rows[validation],
        rates=rows["learning_rate"],
        val_accuracy=rows[score] if score in ACCURACIES else None,
        chance=chance,
        diverged_at=diverged_at,
    )
    return read_clues(curves, settings)
