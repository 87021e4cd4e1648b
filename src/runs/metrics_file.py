"""The metrics of a run in one CSV file, metrics.csv, and the Lightning logger that writes it."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from start_training.files.damaged_file import DamagedFile, named_if_damaged, require
from start_training.files.replaced_file import replaced

NAME = "metrics.csv"
Row = dict[str, float]


class MetricsLogger(Protocol):
    """An object with the method `log_metrics` of a Lightning logger."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the values of metrics at a training step."""


class MetricsFile(Logger):
    """Lightning logger that writes `metrics.csv` in `save_dir`: one row per logged step, one column per metric.

    Unlike Lightning's CSVLogger it keeps an existing file and adds to it, so runs can be resumed. Each call rewrites
    the whole file, which is cheap because metrics are logged about once per epoch.
    """

    takes_curves = (
        False  # see `start_training.recording.length_curves`; its columns are few, and each row costs a rewrite
    )

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__()
        self._path = Path(save_dir) / NAME

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self._path.parent)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: hyper-parameters are in config.yaml of the run directory."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        self.log_rows([(metrics, step)])

    @rank_zero_only
    def log_rows(self, added: Iterable[tuple[Mapping[str, float], int]]) -> None:
        """Log several (metrics, step) pairs, writing the file only once."""
        rows = read_metrics(self._path)  # not cached: another process may write the run before training begins
        for metrics, step in added:
            row = rows.setdefault(step, {"step": step})
            row.update({name: float(value) for name, value in metrics.items()})
        write_metrics(self._path, rows)


def read_metrics(path: Path) -> dict[int, Row]:
    """Read a metrics file; return its rows by step, or an empty dict if the file does not exist.

    Raises:
        DamagedFile: it is not a metrics file, was cut off, or a value is not a number.
    """
    rows, error = readable_metrics(path)
    if error is not None:
        raise error
    return rows


def readable_metrics(path: Path) -> tuple[dict[int, Row], DamagedFile | None]:
    """Read the rows of a metrics file that can be read.

    Returns:
        The rows by step, and the error of the first row that cannot be read; None if the whole file can be read.
    """
    rows: dict[int, Row] = {}
    try:
        with named_if_damaged(path):
            text = path.read_bytes().decode()
            # The writer ends every line: without an end, the last line may have lost digits.
            complete, cut = text.rpartition("\n")[::2]
            lines = csv.reader(complete.splitlines())
            columns = next(lines, None)
            require(columns is not None, "no line of column names")
            for number, fields in enumerate(lines, 2):
                row = _parse_row(columns or [], fields, f"line {number}")
                rows[int(row["step"])] = {**row, "step": int(row["step"])}
            require(not cut, "cut off: the last line does not end with a line break")
    except FileNotFoundError:
        return {}, None
    except DamagedFile as error:
        return rows, error
    return rows, None


def _parse_row(columns: Sequence[str], fields: Sequence[str], line: str) -> dict[str, float]:
    require(len(fields) == len(columns), f"{line} has {len(fields)} values for {len(columns)} columns")
    row = {name: float(value) for name, value in zip(columns, fields, strict=True) if value}
    require("step" in row and row["step"] == int(row["step"]), f"{line} has no step, or a step that is not whole")
    return row


def newest_metrics(path: Path) -> dict[str, float]:
    """Return the last value of each metric in a metrics file, without step, epoch and learning_rate."""
    newest = {name: value for _, row in sorted(read_metrics(path).items()) for name, value in row.items()}
    return {name: value for name, value in newest.items() if name not in ("step", "epoch", "learning_rate")}


def truncate_metrics(path: Path, step: int) -> None:
    """Delete the rows of `step` and of later steps from a metrics file."""
    rows = read_metrics(path)
    earlier = {row_step: row for row_step, row in rows.items() if row_step < step}
    if len(earlier) < len(rows):
        write_metrics(path, earlier)


def write_metrics(path: Path, rows: Mapping[int, Mapping[str, float]]) -> None:
    """Replace a metrics file by one with these rows."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    with replaced(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for _, row in sorted(rows.items()):
            writer.writerow({name: _text(value) for name, value in row.items()})


def _text(value: float) -> str:
    """Return a number as text; integers below 2^53 without a decimal point.

    Larger integers are written as floats, since pandas reads integers of more than 64 bits as text.
    """
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(float(value))
