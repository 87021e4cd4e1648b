"""A table on disk that grows by appended part files and loses no row if the process is killed."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from start_training.files.damaged_file import DamagedFile, named_if_damaged, require
from start_training.files.replaced_file import replaced

_COMPACTED = ".compacted.parquet"  # readers of a Parquet data set pass over names that begin with a dot
_PART = re.compile(r"part-\d{12,}\.parquet")
_TEXTS = ("name", "phase")  # columns that are not of numbers
_TRIES = 5  # of reading a table that a running job is merging meanwhile
# The columns of the tables in a run directory that reports and figures cannot do without; all but `name` are numbers.
COLUMNS = {
    "lengths": ("step", "layer", "name", "mean", "variance"),
    "steps": ("step",),
    "updates": ("step", "name", "gradient_norm", "relative_update"),
    "hyperparameters": ("step", "learning_rate"),
    "phase": ("step", "epoch", "layer", "name", "fan_in", "fan_out", "J", "J2", "scaling"),
    "range_test": ("step", "learning_rate", "train_loss", "val_loss", "val_accuracy"),
}


class Table:
    """A Parquet data set in `directory`, with rows ordered by the integer column `key`.

    Each append writes one part file under a temporary name and then renames it, so that
    `pandas.read_parquet(directory)` never reads an incomplete file.

    Raises:
        DamagedFile: on opening or reading, a file in the directory is damaged or not a part of the table.
    """

    def __init__(self, directory: Path, key: str = "step") -> None:
        self.directory = directory
        self.key = key
        directory.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(directory / _COMPACTED):
            self._finish_compaction()  # a process was killed while compacting

    def append(self, rows: pd.DataFrame) -> None:
        """Append rows, whose keys must be larger than those of all existing rows."""
        if len(rows):
            self._write(rows, self._part(int(rows[self.key].iloc[0])))

    def read(self) -> pd.DataFrame | None:
        """Return all rows, or None if the table is empty."""
        return read_rows(self.directory, key=self.key)

    def truncate(self, step: int) -> None:
        """Delete the rows whose key is `step` or larger; a run that resumes at `step` writes them again."""
        parts = part_files(self.directory)
        later = [part for part in parts if _first_step(part) >= step]
        for part in reversed(later):
            part.unlink()
        earlier = parts[: len(parts) - len(later)]
        if earlier:  # parts are ordered, so only the last one can hold rows from `step` on
            rows = _read_part(earlier[-1], (self.key,)).to_pandas()
            remaining = rows[rows[self.key] < step]
            if len(remaining) < len(rows):
                self._write(remaining, earlier[-1])

    def compact(self) -> None:
        """Merge all part files into one file."""
        if len(part_files(self.directory)) > 1:
            self.rewrite(lambda rows: rows)

    def rewrite(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Replace all rows, which are merged into one file, by what `change` returns for them."""
        if (rows := self.read()) is not None:
            self._write(change(rows), self.directory / _COMPACTED)
            self._finish_compaction()

    def _finish_compaction(self) -> None:
        # The merged file is complete, so the parts can be deleted before it is renamed. If the process is killed in
        # between, readers miss rows until the table is opened again, but never read a row twice.
        _read_part(self.directory / _COMPACTED, (self.key,))
        for part in part_files(self.directory):
            part.unlink()
        os.replace(self.directory / _COMPACTED, self._part(0))

    def _part(self, step: int) -> Path:
        return self.directory / f"part-{step:012d}.parquet"

    def _write(self, rows: pd.DataFrame, path: Path) -> None:
        # On one thread: those that to_parquet starts cost busy cores more than such small tables can save.
        with replaced(path) as partial:
            table = pa.Table.from_pandas(rows, preserve_index=False, nthreads=1)
            parquet.write_table(table, partial, write_page_checksum=True)


def part_files(directory: Path) -> list[Path]:
    """Return the part files of a table in order; empty if its directory does not exist.

    Raises:
        DamagedFile: the directory holds another file; names that begin with a dot are passed over.
    """
    files = [path for path in files_of(directory) if not path.name.startswith(".")]
    if foreign := [path for path in files if not _PART.fullmatch(path.name)]:
        raise DamagedFile(foreign[0], "not a part of the table in this folder; move it to another folder")
    return files


def read_rows(directory: Path, *, key: str = "step", columns: Sequence[str] = ()) -> pd.DataFrame | None:
    """Read a table without opening it for writing, also while a running job writes it.

    Args:
        directory: The directory of the table.
        key: The integer column that orders the rows.
        columns: Further columns that the table must have, all but `name` of numbers.

    Returns:
        All rows; None if the table is empty or does not exist.

    Raises:
        DamagedFile: a file in the directory is damaged or not a part of the table.
    """
    for _ in range(_TRIES):
        try:
            parts, merged = part_files(directory), directory / _COMPACTED
            # If a process was killed while it compacted, parts are missing, but the merged file has all rows.
            files = [merged] if os.path.lexists(merged) else parts
            tables = [(file, _read_part(file, (key, *columns))) for file in files]
        except FileNotFoundError:  # the running job has merged its parts
            continue
        return _concatenated(tables).to_pandas() if tables else None
    raise DamagedFile(directory, "its files changed while they were read; try again")


def read_first_part(directory: Path, *, columns: Sequence[str]) -> pd.DataFrame | None:
    """Read those of some columns of numbers that a table has, of its first rows; None if the table is empty.

    Raises `DamagedFile` as `read_rows`.
    """
    for _ in range(_TRIES):
        try:
            parts = part_files(directory)
            return _read_part(parts[0], columns, only=True).to_pandas() if parts else None
        except FileNotFoundError:  # the running job has merged its parts
            continue
    raise DamagedFile(directory, "its files changed while they were read; try again")


def readable_parts(directory: Path, *, columns: Sequence[str]) -> tuple[list[Path], list[DamagedFile]]:
    """Return the part files of a table that can be read and have the same columns, and the errors of all other files.

    Args:
        directory: The directory of the table; empty lists if it does not exist.
        columns: The columns that each part must have.
    """
    good: list[tuple[Path, pa.Table]] = []
    errors: list[DamagedFile] = []
    try:
        files = [path for path in files_of(directory) if not path.name.startswith(".") or path.name == _COMPACTED]
    except DamagedFile as error:
        return [], [error]
    for path in files:
        try:
            if not _PART.fullmatch(path.name) and path.name != _COMPACTED:
                raise DamagedFile(path, "not a part of the table in this folder")
            read = _read_part(path, columns)
            if path.name != _COMPACTED:
                _concatenated([*good, (path, read.slice(0, 0))])
                good.append((path, read.slice(0, 0)))
        except DamagedFile as error:
            errors.append(error)
    return [path for path, _ in good], errors


def files_of(directory: Path) -> list[Path]:
    """Return the files and folders in a directory by name; empty if it does not exist."""
    try:
        with named_if_damaged(directory):
            return sorted(directory.iterdir())
    except FileNotFoundError:
        return []


def _read_part(path: Path, columns: Sequence[str], *, only: bool = False) -> pa.Table:
    with named_if_damaged(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        if only:
            columns = [name for name in columns if name in file.schema_arrow.names]
        table = file.read(columns=list(columns) if only else None, use_threads=False)
        require(table.num_rows == file.metadata.num_rows, "rows are missing")
        table.validate(full=True)
        table.slice(0, 1).to_pandas()  # reads the metadata of pandas, too, which may be damaged
        for name in columns:
            require(name in table.column_names, f"it has no column {name}")
            require(name in _TEXTS or _is_numeric(table.schema.field(name).type), f"{name} is not a column of numbers")
        return table


def _concatenated(tables: Sequence[tuple[Path, pa.Table]]) -> pa.Table:
    """Concatenate parts, which must have the same columns."""
    first = tables[0][1]
    for path, table in tables:
        with named_if_damaged(path):
            require(table.column_names == first.column_names, "it has other columns than the parts before it")
            pa.concat_tables([first.slice(0, 0), table.slice(0, 0)], promote_options="default")
    return pa.concat_tables([table for _, table in tables], promote_options="default")


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as the CSV or Parquet file `path`, without its index, and return `path`."""
    with replaced(path) as partial:
        write = table.to_csv if path.suffix == ".csv" else table.to_parquet
        write(partial, index=False)
    return path


def _first_step(part: Path) -> int:
    return int(part.stem.removeprefix("part-"))
