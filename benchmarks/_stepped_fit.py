"""A Lightning training that is advanced step by step, so that two trainings can take steps in turns."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from benchmarks._measuring import now


class SteppedFit:
    """A `Trainer.fit` in a separate thread that trains repeatedly on one batch, only when `time_steps` is called.

    A turn is timed from the moment when the loader returns its first batch to the moment when Lightning requests the
    batch after its last and the device has finished. It includes all work of Lightning, module, optimizer and callbacks
    in these steps, and not the switch between trainings.

    Args:
        module: The module to train.
        batch: The batch of all steps.
        callback: Callback of the Trainer.
        trainer: Further arguments of the Trainer, such as `logger`.
    """

    def __init__(
        self, module: pl.LightningModule, batch: tuple[Tensor, ...], callback: pl.Callback, **trainer: Any
    ) -> None:
        self._batch = batch
        self._turns: SimpleQueue[int] = SimpleQueue()
        self._seconds: SimpleQueue[float | BaseException] = SimpleQueue()
        self._thread = threading.Thread(target=self._fit, args=(module, callback, trainer), daemon=True)
        self._thread.start()

    def time_steps(self, steps: int = 1) -> float:
        """Train for a number of steps and return seconds per step; raise any exception of the training."""
        self._turns.put(steps)
        answer = self._seconds.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer / steps

    def finish(self) -> None:
        """End the training as at the end of its data; raise any exception of the training."""
        self._turns.put(0)
        self._thread.join()
        if not self._seconds.empty() and isinstance(error := self._seconds.get(), BaseException):
            raise error

    def __len__(self) -> int:
        return 10**9  # Lightning would fetch each batch a step early if the loader had no length

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        device = self._batch[0].device.type
        for steps in iter(self._turns.get, 0):
            start = now(device)
            for _ in range(steps):
                yield self._batch
            self._seconds.put(now(device) - start)

    def _fit(self, module: pl.LightningModule, callback: pl.Callback, settings: dict[str, Any]) -> None:
        try:
            trainer = silent_trainer(self._batch[0].device.type, callbacks=callback, limit_val_batches=0, **settings)
            trainer.fit(module, self, [])
        except BaseException as error:
            self._seconds.put(error)


def deferred_seconds(
    module: pl.LightningModule,
    batch: tuple[Tensor, ...],
    callback: Callable[[Path, int], pl.Callback],
    period: int,
    *,
    periods: int = 2,
    logger: Callable[[Path], Any] | None = None,
) -> float:
    """Measure the work that a callback defers to every `period`-th step, in seconds per step.

    It is the mean excess of these steps over the median of the other steps, divided by the period.

    Args:
        module: The module to train.
        batch: A batch; only two of its samples are used, since deferred work does not depend on their number.
        callback: Function of a directory to write to and the period that returns the callback.
        period: Number of steps between deferred work.
        periods: Number of periods to train.
        logger: Function of a directory that returns the Trainer's logger; None for no logger.
    """
    few = tuple(tensor[:2] for tensor in batch)
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as logs:
        trainer = {"logger": logger(Path(logs))} if logger else {}
        fit = SteppedFit(module, few, callback(Path(directory), period), **trainer)
        seconds = np.array([fit.time_steps() for _ in range(period * periods)]).reshape(periods, period)
        fit.finish()
    return float(seconds[:, -1].mean() - np.median(seconds[:, :-1])) / period


def silent_trainer(accelerator: str, **settings: Any) -> pl.Trainer:
    """Return a Trainer for one epoch on one device that logs, saves and shows nothing; `settings` are its arguments."""
    silent = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
    }
    return pl.Trainer(accelerator=accelerator, devices=1, **{**silent, **settings})
