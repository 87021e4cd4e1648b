"""Prepare the files in a run's directory for a new or a resumed run, without losing what cannot be read."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from start_training.files.damaged_file import DamagedFile, set_aside
from start_training.runs.metrics_file import NAME as METRICS
from start_training.runs.metrics_file import Row, readable_metrics, write_metrics
from start_training.runs.table import COLUMNS, readable_parts

TABLES = tuple(COLUMNS)
FOLDERS = (*TABLES, "checkpoints", "figures")


class Recorded:
    """The tables and metrics that a run has recorded, all read and checked before any of them is changed.

    Args:
        directory: The directory of the run.

    Attributes:
        errors: What cannot be read, by the name of the table or of metrics.csv.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.errors: dict[str, DamagedFile] = {}
        self._parts: dict[str, list[Path]] = {}
        for name, columns in COLUMNS.items():
            self._parts[name], errors = readable_parts(directory / name, columns=columns)
            if errors:
                self.errors[name] = errors[0]
        self._metrics: dict[int, Row]
        self._metrics, error = readable_metrics(directory / METRICS)
        if error is not None:
            self.errors[METRICS] = error

    def repair(self) -> None:
        """Set aside what cannot be read, and keep its readable rows in its place."""
        for name, error in self.errors.items():
            print(f"{error}; its other rows are kept", file=sys.stderr)
            aside = set_aside(self.directory / name, self.directory)
            if name == METRICS:
                write_metrics(self.directory / METRICS, self._metrics)
            else:
                _copy_parts([aside / part.name for part in self._parts[name]], self.directory / name)

    def copy_to(self, directory: Path) -> None:
        """Copy what can be read to the directory of another run, and print what cannot be read."""
        for error in self.errors.values():
            print(f"{error}; its other rows are copied to {directory}", file=sys.stderr)
        for name, parts in self._parts.items():
            if parts:
                _copy_parts(parts, directory / name)
        if self._metrics:
            write_metrics(directory / METRICS, self._metrics)


def clear(directory: Path, *, keep: bool) -> None:
    """Delete the files of an earlier run, except config.yaml and summary.json, or set them aside if `keep` is true."""
    for path in (directory / name for name in (*FOLDERS, METRICS)):
        if keep and path.exists():
            set_aside(path, directory)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _copy_parts(parts: Iterable[Path], directory: Path) -> None:
    directory.mkdir()
    for part in parts:
        shutil.copy(part, directory / part.name)
