"""Write what was measured in training steps to the tables of a fit and to loggers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from start_training.lengths.statistics import unpack_statistics
from start_training.recording.length_curves import LengthCurves
from start_training.recording.update_sizes import MeasuredUpdate
from start_training.runs.length_tables import LengthTables, MeasuredSteps, StepRecord


class LengthWriter:
    """Writes measured steps as tables and as curves.

    Args:
        directory: The directory of the tables.
        loggers: The loggers of the curves.
        start: The step at which training starts or resumes.
        log_every_n_steps: Log at most one step out of so many; None: no curves.
        phased: Whether training steps have several forward passes.

    Attributes:
        tables: The tables.
    """

    def __init__(
        self,
        directory: Path,
        loggers: Iterable[Any],
        *,
        start: int,
        log_every_n_steps: int | None,
        phased: bool = False,
    ) -> None:
        self.tables = LengthTables(directory, phased=phased)
        self._loggers = loggers
        self._curves = None if log_every_n_steps is None else LengthCurves(log_every_n_steps, start=start)
        self._names: tuple[str, ...] = ()
        self._pending: list[tuple[list[StepRecord], NDArray[np.float64]]] = []

    def write(self, measured: Sequence[MeasuredSteps], updates: Sequence[MeasuredUpdate] = ()) -> None:
        """Write measured steps, if there are any."""
        if measured:
            self.tables.append(measured)
            if self._curves is not None:
                self._curves.log(measured, self._loggers, phased=self.tables.phased, updates=updates)

    def add(self, names: Sequence[str], steps: Sequence[StepRecord], readings: NDArray[np.float64]) -> None:
        """Add steps to write at the next `flush`; `readings[i]` is the `pack_statistics` of `steps[i]`."""
        self._names = tuple(names)
        self._pending.append((list(steps), readings))

    def flush(self) -> None:
        """Write the steps that were added."""
        pending, self._pending = self._pending, []
        if steps := [step for steps, _ in pending for step in steps]:
            readings = np.concatenate([readings for _, readings in pending])
            self.write([MeasuredSteps(self._names, steps, unpack_statistics(readings))])
