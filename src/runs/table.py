"""A table on disk that grows by whole flushes and survives a kill at any moment."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from start_training.runs.replaced_file import replaced

_COMPACTED = ".compacted.parquet"  # readers of a Parquet data set pass over names that begin with a dot


class Table:
    """A Parquet data set in `directory`, its rows ordered by the integer column `key`.

    Each append writes one part, beside and then in place, so that no reader ever meets half of one;
    `pandas.read_parquet(directory)` reads what is there at any moment.
    """

    def __init__(self, directory: Path, key: str = "step") -> None:
        self.directory = directory
        self.key = key
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / _COMPACTED).exists():
            self._finish_compaction()  # a kill had come between

    def append(self, rows: pd.DataFrame) -> None:
        """Add rows whose keys lie after those that are there."""
        if len(rows):
            self._write(rows, self._part(int(rows[self.key].iloc[0])))

    def read(self) -> pd.DataFrame | None:
        """All rows, or None where there are none yet."""
        return pd.read_parquet(self.directory) if self._parts() else None

    def truncate(self, step: int) -> None:
        """Drop the rows of `step` and later ones: what a run that resumes there will write again."""
        parts = self._parts()
        later = [part for part in parts if _first_step(part) >= step]
        for part in reversed(later):
            part.unlink()
        earlier = parts[: len(parts) - len(later)]
        if earlier:  # parts are ordered, so only the last can reach past the step
            rows = pd.read_parquet(earlier[-1])
            kept = rows[rows[self.key] < step]
            if len(kept) < len(rows):
                self._write(kept, earlier[-1])

    def compact(self) -> None:
        """Join all parts in one file."""
        if len(self._parts()) > 1:
            self._write(pd.read_parquet(self.directory), self.directory / _COMPACTED)
            self._finish_compaction()

    def _finish_compaction(self) -> None:
        # From the moment that the joined file exists it is the truth; a kill before the last line here
        # costs readers some rows for a while, the next opening brings them back, and none is ever twice.
        parts = self._parts()
        for part in parts:
            part.unlink()
        os.replace(self.directory / _COMPACTED, self._part(0))

    def _parts(self) -> list[Path]:
        return sorted(self.directory.glob("part-*.parquet"))

    def _part(self, step: int) -> Path:
        return self.directory / f"part-{step:012d}.parquet"

    def _write(self, rows: pd.DataFrame, path: Path) -> None:
        # On one thread: those that to_parquet starts cost busy cores more than such small tables can save.
        with replaced(path) as partial:
            parquet.write_table(pa.Table.from_pandas(rows, preserve_index=False, nthreads=1), partial)


def _first_step(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))
