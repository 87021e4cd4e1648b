"""A run's metrics as one CSV file, and a Lightning logger that writes it."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from start_training.runs.replaced_file import replaced

NAME = "metrics.csv"


class TakesMetrics(Protocol):
    """A logger, or what stands for one."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """A row at a step."""


class MetricsFile(Logger):
    """`metrics.csv` in `save_dir`: a row per step at which something was logged, a column per metric.

    Lightning's CSVLogger deletes on resuming what it finds; this one goes on from it. The file is
    replaced as a whole at every row, and rows are few: an epoch each.
    """

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
        """The run directory's config.yaml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        self.log_rows([(metrics, step)])

    @rank_zero_only
    def log_rows(self, added: Iterable[tuple[Mapping[str, float], int]]) -> None:
        """Several at once, each at its step, for as much as one costs."""
        rows = read_metrics(self._path)  # not kept in memory: the directory may change hands before training begins
        for metrics, step in added:
            row = rows.setdefault(step, {"step": step})
            row.update({name: float(value) for name, value in metrics.items()})
        _write(self._path, rows)


def read_metrics(path: Path) -> dict[int, dict[str, float]]:
    """The rows of a metrics file by step; none where there is no file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return {int(row["step"]): {**row, "step": int(row["step"])} for row in rows}


def newest_metrics(path: Path) -> dict[str, float]:
    """The last value of each metric; where it was taken, and at which rate, is no metric."""
    newest = {name: value for _, row in sorted(read_metrics(path).items()) for name, value in row.items()}
    return {name: value for name, value in newest.items() if name not in ("step", "epoch", "learning_rate")}


def truncate_metrics(path: Path, step: int) -> None:
    """Drop the rows of `step` and later ones."""
    rows = read_metrics(path)
    kept = {at: row for at, row in rows.items() if at < step}
    if len(kept) < len(rows):
        _write(path, kept)


def _write(path: Path, rows: Mapping[int, Mapping[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    with replaced(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for _, row in sorted(rows.items()):
            writer.writerow({name: _text(value) for name, value in row.items()})


def _text(value: float) -> str:
    """Whole numbers as such, up to where floats have all of them: of more than 64 bits, pandas would read text."""
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(float(value))
