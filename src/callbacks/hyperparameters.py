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
FLUSH_EVERY = 1_000  # steps; a checkpoint flushes too, so that nothing before it can be lost
Row: TypeAlias = tuple[int, int, tuple[float, ...]]  # step, epoch, and what `values_of` says


class Hyperparameters(pl.Callback):
    """Writes `hyperparameters/`, a Parquet data set: step, epoch, learning_rate, momentum, weight_decay.

    A row per optimizer step, of what that step uses; of several parameter groups the first. momentum is SGD's or
    Adam's beta1, NaN for an optimizer that has none. Loggers get a row whenever a value has changed, at its step;
    not metrics.csv, which is written as a whole at every row, and whose epochs have the learning rate of their last
    step. directory: the trainer's `default_root_dir` by default.
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
            values = values_of(optimizer.param_groups[0])
            self.note(trainer.global_step, trainer.current_epoch, values, trainer.loggers)
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

    def note(self, step: int, epoch: int, values: tuple[float, ...], loggers: Iterable[MetricsLogger]) -> None:
        """Add the row of a step, and log it where a value has changed."""
        self._rows.append((step, epoch, values))
        if values != self._sent:
            self._sent = values
            for logger in loggers:
                if not isinstance(logger, MetricsFile):
                    logger.log_metrics(sent(values), step=step)

    def flush(self, directory: Path) -> None:
        """Write the rows of a run in `directory` that are not on disk yet."""
        rows, self._rows = self._rows, []
        if rows:
            self._table(directory).append(hyperparameter_rows(rows))

    def _table(self, directory: Path) -> Table:
        return Table((self.directory or directory) / NAME)


def values_of(group: dict[str, Any]) -> tuple[float, ...]:
    """Of an optimizer's parameter group, in the order of `COLUMNS`.

    `math.nan` itself for what the optimizer does not have: in a tuple it is equal to itself.
    """
    momentum = momentum_of(group)
    return float(group["lr"]), math.nan if momentum is None else momentum, float(group.get("weight_decay", math.nan))


def sent(values: Sequence[float]) -> dict[str, float]:
    """What loggers other than metrics.csv get of the values: those that the optimizer has, by their column."""
    return {name: value for name, value in zip(COLUMNS, values, strict=True) if not math.isnan(value)}


def hyperparameter_rows(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows of `hyperparameters/`, at least one: step, epoch and `COLUMNS`."""
    steps, epochs, values = zip(*rows, strict=True)
    columns = dict(zip(COLUMNS, zip(*values, strict=True), strict=True))
    return pd.DataFrame({"step": steps, "epoch": epochs, **columns})
