"""Two real trainings that take steps in turn.

Two timings one after the other differ by what else the machine did meanwhile; here each turn of one
training stands right beside one of the other.
"""

import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array = NDArray[np.float64]


class SteppedFit:
    """A `Trainer.fit` in a thread of its own, which trains on one batch over and over, and only when told.

    A turn lasts from the moment its first batch is handed out to the moment the loader is asked for
    the batch after its last, with the device done: all that Lightning, module, optimizer and callbacks
    do in these steps is inside, and the handing over between two trainings is not.
    """

    def __init__(
        self, module: pl.LightningModule, batch: tuple[Tensor, ...], callback: pl.Callback, **trainer: Any
    ) -> None:
        self._batch = batch
        self._device = batch[0].device
        self._turns: SimpleQueue[int] = SimpleQueue()
        self._seconds: SimpleQueue[float | BaseException] = SimpleQueue()
        self._thread = threading.Thread(target=self._fit, args=(module, callback, trainer), daemon=True)
        self._thread.start()

    def take(self, steps: int = 1) -> float:
        """Seconds per step of a turn of so many steps. Raises what the training raised."""
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
        for steps in iter(self._turns.get, 0):
            start = self._now()
            for _ in range(steps):
                yield self._batch
            self._seconds.put(self._now() - start)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _fit(self, module: pl.LightningModule, callback: pl.Callback, settings: dict[str, Any]) -> None:
        try:
            trainer = silent_trainer(self._device.type, callbacks=callback, limit_val_batches=0, **settings)
            trainer.fit(module, self, [])
        except BaseException as error:
            self._seconds.put(error)


def paired_times(plain: SteppedFit, watched: SteppedFit, pairs: int, *, turn: int = 1, warm_up: int = 2) -> Array:
    """Seconds per step, (pairs, 2), of turns of `turn` steps in the order plain-watched, watched-plain, ….

    Before them come `warm_up` pairs that are not counted: allocations, compilation.
    """
    seconds = np.empty((warm_up + pairs, 2))
    for index in range(len(seconds)):
        order = [(0, plain), (1, watched)]
        for column, fit in order if index % 2 == 0 else reversed(order):
            seconds[index, column] = fit.take(turn)
    return seconds[warm_up:]


def deferred_time(fit: SteppedFit, period: int, *, periods: int = 2) -> float:
    """Seconds per step of what a new training puts off to every `period`-th step, shared among the steps.

    The mean excess of these steps over the median of the others, divided by the period.
    """
    seconds = np.array([fit.take() for _ in range(period * periods)]).reshape(periods, period)
    return float(seconds[:, -1].mean() - np.median(seconds[:, :-1])) / period


def median_of_rounds(values: ArrayLike) -> tuple[float, float, float]:
    """The median, and the least and the greatest value: a confidence interval that assumes no law.

    Of n independent rounds all lie on one side of the true median with probability 2^(1 − n), so the
    interval covers 96.9 % for six rounds.
    """
    values = np.asarray(values, dtype=np.float64)
    return float(np.median(values)), float(values.min()), float(values.max())


def silent_trainer(accelerator: str, **settings: Any) -> pl.Trainer:
    """One epoch on one device, with all off that Lightning lets one turn off: its fixed cost, and no more."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
