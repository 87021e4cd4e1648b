"""A real training that trains only when asked to, so that two of them can take steps in turns."""

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
    """A `Trainer.fit` in a thread of its own, which trains on one batch over and over, and only when asked to.

    A turn lasts from the moment its first batch is handed out to the moment the loader is asked for the batch after
    its last, with the device done: it includes all that Lightning, module, optimizer and callbacks do in these steps,
    and not the change from one training to another.
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
        """Train for so many steps; returns seconds per step. Raises what the training raised."""
        self._turns.put(steps)
        answer = self._seconds.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer / steps

    def finish(self) -> None:
        """End the training as if its data had ended. Raises what the training raised in ending."""
        self._turns.put(0)
        self._thread.join()
        if not self._seconds.empty() and isinstance(error := self._seconds.get(), BaseException):
            raise error

    def __len__(self) -> int:
        return 10**9  # from a loader without a length Lightning fetches each batch a step early

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
) -> float:
    """What a callback puts off to every `period`-th step, in seconds per step.

    It is the mean excess of these steps over the median of the others, divided by the period.

    Args:
        module: What is trained.
        batch: Of which two samples are used, since what is put off does not depend on their number.
        callback: Called with a directory to write to and the period.
        period: In steps.
        periods: How many are trained.
    """
    with tempfile.TemporaryDirectory() as directory:
        fit = SteppedFit(module, tuple(tensor[:2] for tensor in batch), callback(Path(directory), period))
        seconds = np.array([fit.time_steps() for _ in range(period * periods)]).reshape(periods, period)
        fit.finish()
    return float(seconds[:, -1].mean() - np.median(seconds[:, :-1])) / period


def silent_trainer(accelerator: str, **settings: Any) -> pl.Trainer:
    """A Trainer of one epoch on one device, which logs, saves and shows nothing."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, **settings},
    )
