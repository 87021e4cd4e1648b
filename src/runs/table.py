"""A table on disk that grows by appended part files and loses no row if the process is killed."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from start_training.runs.replaced_file import replaced

_COMPACTED = ".compacted.parquet"  # readers of a Parquet data set pass over names that begin with a dot


class Table:
    """A Parquet data set in `directory`, with rows ordered by the integer column `key`.

    Each append writes one part file under a temporary name and then renames it, so that
    `pandas.read_parquet(directory)` never reads an incomplete file.
    """

    def __init__(self, directory: Path, key: str = "step") -> None:
        self.directory = directory
        self.key = key
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / _COMPACTED).exists():
            self._finish_compaction()  # a process was killed while compacting

    def append(self, rows: pd.DataFrame) -> None:
        """Append rows, whose keys must be larger than those of all existing rows."""
        if len(rows):
            self._write(rows, self._part(int(rows[self.key].iloc[0])))

    def read(self) -> pd.DataFrame | None:
        """Return all rows, or None if the table is empty."""
        return pd.read_parquet(self.directory) if self._parts() else None

    def truncate(self, step: int) -> None:
        """Delete the rows whose key is `step` or larger; a run that resumes at `step` writes them again."""
        parts = self._parts()
        later = [part for part in parts if _first_step(part) >= step]
        for part in reversed(later):
            part.unlink()
        earlier = parts[: len(parts) - len(later)]
        if earlier:  # parts are ordered, so only the last one can hold rows from `step` on
            rows = pd.read_parquet(earlier[-1])
            remaining = rows[rows[self.key] < step]
            if len(remaining) < len(rows):
                self._write(remaining, earlier[-1])

    def compact(self) -> None:
        """Merge all part files into one file."""
        if len(self._parts()) > 1:
            self._write(pd.read_parquet(self.directory), self.directory / _COMPACTED)
            self._finish_compaction()

    def _finish_compaction(self) -> None:
        # The merged file is complete, so the parts can be deleted before it is renamed. If the process is killed in
        # between, readers miss rows until the table is opened again, but never read a row twice.
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


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as the CSV or Parquet file `path`, without its index, and return `path`."""
    with replaced(path) as partial:
        write = table.to_csv if path.suffix == ".csv" else table.to_parquet
        write(partial, index=False)
    return path


def _first_step(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))
