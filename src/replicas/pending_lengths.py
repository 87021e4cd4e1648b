"""What was measured of a replica's layers, between the device and its tables."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from start_training.lengths.statistics import unpack_statistics
from start_training.runs.length_tables import Step, length_rows, step_rows
from start_training.runs.table import Table


class PendingLengths:
    """Rows of `lengths/` and `steps/` that are not written yet."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._steps: list[Step] = []
        self._numbers: list[NDArray[np.float64]] = []

    def add(self, names: tuple[str, ...], steps: list[Step], numbers: NDArray[np.float64]) -> None:
        """Steps, and the readings (steps, 3 (d + 1) + 2) of `start_training.lengths.statistics`."""
        self._names = names
        self._steps += steps
        self._numbers.append(numbers)

    def flush(self, directory: Path) -> None:
        """Append them to the tables in the run directory."""
        steps, numbers = self._steps, self._numbers
        self._steps, self._numbers = [], []
        if steps:
            statistics = unpack_statistics(np.concatenate(numbers))
            Table(directory / "lengths").append(length_rows(self._names, steps, statistics))
            Table(directory / "steps").append(step_rows(steps, statistics))
