"""Infer from the loss curves of a run which settings to change (clues)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from start_training.runs.directory import RunDirectory
from start_training.runs.metrics_file import read_metrics
from start_training.schedules.clue_verdicts import Clues
from start_training.schedules.clues import read_clues
from start_training.schedules.curves import Curves
from start_training.schedules.rate_suggestion import score_column
from start_training.schedules.regularization import advise
from start_training.schedules.regularizers import Regularizers
from start_training.tasks.merit import ACCURACY, Merit

COLUMNS = ("train/loss", "val/loss", "learning_rate")
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
        read = _read(test, "train_loss", "val_loss", score_column(test), chance, None, None)
        return {**asdict(read), "advice": ""}
    read = _read(epochs, "train/loss", "val/loss", score, chance, diverged_at, settings)
    return {**asdict(read), "advice": advise(read.verdict, settings, rate=read.rate)}


def epochs_of(run: RunDirectory, score: str = ACCURACY.metric("val")) -> pd.DataFrame:
    """Return the rows of metrics.csv that have a training or a validation loss; missing values are NaN."""
    columns = ["step", *COLUMNS, score]
    rows = pd.DataFrame(list(read_metrics(run.metrics_file).values()), columns=columns, dtype=float)
    return rows[rows["train/loss"].notna() | rows["val/loss"].notna()].sort_values("step")


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
