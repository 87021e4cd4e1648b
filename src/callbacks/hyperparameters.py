"""Record learning rate, momentum and weight decay at every optimizer step."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pytorch_lightning as pl
from torch.optim import Optimizer

from start_training.runs.metrics_file import MetricsFile, MetricsLogger
from start_training.runs.table import Table
from start_training.schedules.schedule import momentum_of

NAME = "hyperparameters"
COLUMNS = ("learning_rate", "momentum", "weight_decay")
FLUSH_EVERY = 1_000  # steps; a checkpoint flushes as well, so that rows before it are never lost
Row: TypeAlias = tuple[int, int, tuple[float, ...]]  # step, epoch, and the values of `COLUMNS`


class Hyperparameters(pl.Callback):
    """Record learning rate, momentum and weight decay of every step as the Parquet data set `hyperparameters/`.

    The columns are step, epoch, learning_rate, momentum and weight_decay: the values that the step uses, from the first
    parameter group. momentum is SGD's momentum or Adam's beta1, and NaN for an optimizer that has neither. Loggers
    other than metrics.csv also receive the values at each step where one of them has changed. metrics.csv has the
    learning rate of each epoch's last step.

    Args:
        directory: The directory of the data set; None: the trainer's `default_root_dir`.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory) if directory is not None else None
        self._rows: list[Row] = []
        self._sent: tuple[float, ...] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._rows, self._sent = [], None
        if trainer.is_global_zero:
            self._table(Path(trainer.default_root_dir)).truncate(trainer.global_step)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if trainer.is_global_zero:
            values = hyperparameters_of(optimizer.param_groups[0])
            self.add(trainer.global_step, trainer.current_epoch, values, trainer.loggers)
        if len(self._rows) >= FLUSH_EVERY:
            self.flush(Path(trainer.default_root_dir))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.flush(Path(trainer.default_root_dir))  # a run resumed from this checkpoint will not see these steps again

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.flush(Path(trainer.default_root_dir))
        if trainer.is_global_zero:
            self._table(Path(trainer.default_root_dir)).compact()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.flush(Path(trainer.default_root_dir))

    def add(self, step: int, epoch: int, values: tuple[float, ...], loggers: Iterable[MetricsLogger]) -> None:
        """Add the row of a step, and log the values if one of them has changed."""
        self._rows.append((step, epoch, values))
        if values != self._sent:
            self._sent = values
            for logger in loggers:
                if not isinstance(logger, MetricsFile):
                    logger.log_metrics(logged_values(values), step=step)

    def flush(self, directory: Path) -> None:
        """Write the rows that are not on disk yet.

        Args:
            directory: The run's directory, used if this callback was given none.
        """
        rows, self._rows = self._rows, []
        if rows:
            self._table(directory).append(hyperparameter_rows(rows))

    def _table(self, directory: Path) -> Table:
        return Table((self.directory or directory) / NAME)


def hyperparameters_of(group: dict[str, Any]) -> tuple[float, ...]:
    """Return learning rate, momentum and weight decay of an optimizer's parameter group, in the order of `COLUMNS`.

    A setting that the optimizer does not have is the object `math.nan`, with which tuples still compare equal.
    """
    momentum = momentum_of(group)
    return float(group["lr"]), math.nan if momentum is None else momentum, float(group.get("weight_decay", math.nan))


def logged_values(values: Sequence[float]) -> dict[str, float]:
    """Return the values to log, by column name, without those that the optimizer does not have (NaN)."""
    return {name: value for name, value in zip(COLUMNS, values, strict=True) if not math.isnan(value)}


def hyperparameter_rows(rows: Sequence[Row]) -> pd.DataFrame:
    """Build a table with columns step, epoch and `COLUMNS` from at least one row."""
    steps, epochs, values = zip(*rows, strict=True)
    columns = dict(zip(COLUMNS, zip(*values, strict=True), strict=True))
    return pd.DataFrame({"step": steps, "epoch": epochs, **columns})
