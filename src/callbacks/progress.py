"""One progress bar for all epochs of training."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

SCORES = ("val/accuracy", "val/r2", "val/loss")
REFRESH_EVERY = 10  # batches; more frequent updates would slow training down


class TrainingProgress(ProgressBar):
    """Show the steps done, the epoch and the newest metrics in one bar; Lightning's bar starts anew each epoch.

    Args:
        transient: Whether the bar vanishes at the end, so that a sweep prints one line per job.
    """

    def __init__(self, *, transient: bool = False) -> None:
        super().__init__()
        self.transient = transient
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.should_stop:  # such as after a range test that ends the run
            return
        self._progress = Progress(*bar_columns(), console=Console(stderr=True), transient=self.transient)
        total = trainer.estimated_stepping_batches
        self._task = self._progress.add_task(
            "", total=total, completed=trainer.global_step, epoch=_epoch(trainer), metrics=_metrics(trainer)
        )
        self._progress.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress:
            self._progress.update(self._task, epoch=_epoch(trainer))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._progress and batch_idx % REFRESH_EVERY == 0:
            self._progress.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress:
            self._progress.update(self._task, completed=trainer.global_step, metrics=_metrics(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._progress:
            self._progress.update(self._task, metrics=_metrics(trainer))
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def disable(self) -> None:
        """Do nothing. Lightning calls this on ranks above 0, which have no bar."""

    def enable(self) -> None:
        """Do nothing, as `disable`."""

    def _stop(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None


def bar_of(trainer: pl.Trainer) -> Callable[[Iterable[Any], int], Iterable[Any]]:
    """Return a function that iterates over the updates of a range test, given their largest number, with a bar.

    The bar vanishes at the end. There is none without a terminal, or if the trainer shows no progress bar.
    """
    console = Console(stderr=True)
    if not (trainer.is_global_zero and trainer.progress_bar_callback and console.is_terminal):
        return lambda updates, total: updates

    def iterate(updates: Iterable[Any], total: int) -> Iterator[Any]:
        columns = (TextColumn("range test"), BarColumn(bar_width=8), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            yield from bar.track(updates, total=total)

    return iterate


def bar_columns() -> list[ProgressColumn]:
    """Return the columns of the bar: epochs, steps, remaining time and metrics; together at most 80 characters wide."""
    time_left = TimeRemainingColumn(elapsed_when_finished=True)
    epoch, metrics = TextColumn("epoch {task.fields[epoch]}"), TextColumn("{task.fields[metrics]}")
    return [epoch, BarColumn(bar_width=8), MofNCompleteColumn(), time_left, metrics]


def _epoch(trainer: pl.Trainer) -> str:
    """Format the current epoch, counted from 1, and the number of epochs if it is limited: `3/10`.

    Called when an epoch starts: at its end only `fit_loop.done` knows if another follows, and it changes the loop.
    """
    total = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"{trainer.current_epoch + 1}{total}"


def _metrics(trainer: pl.Trainer) -> str:
    """Format the training loss and the first of SCORES that the task has."""
    score = next((name for name in SCORES if name in trainer.callback_metrics), None)
    shown = {name: trainer.callback_metrics.get(name) for name in ("train/loss", score) if name}
    return " ".join(f"{name} {float(value):.3g}" for name, value in shown.items() if value is not None)
