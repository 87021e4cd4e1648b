"""The directory of one run: its files, the lock that allows one writer at a time, and the state of the run."""

import json
import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import unlock_descriptor

from start_training.runs.disk_errors import reason_of
from start_training.runs.file_lock import can_be_locked, lock
from start_training.runs.metrics_file import NAME as METRICS
from start_training.runs.metrics_file import truncate_metrics
from start_training.runs.replaced_file import replace_text
from start_training.runs.reserved_space import free_space, reserve_space
from start_training.runs.saved_config import differences, read_config
from start_training.runs.table import Table
from start_training.runs.trust import check_trusted, names_in

# Tables with one row or more per training step; a resumed run keeps the rows before its first step.
BY_STEP = ("lengths", "steps", "hyperparameters", "phase")
TABLES = (*BY_STEP, "range_test")
FOLDERS = (*TABLES, "checkpoints", "figures")
LOCK = ".lock"
FINISHED = ("completed", "diverged")
SHOWN = 5  # number of differing settings listed in an error message


class RunDirectoryLocked(ValueError):
    """Raised when another process is writing a run in the directory."""


class RunDirectory:
    """The directory of a run at `path`, which need not exist yet.

    Its files are config.yaml (the resolved config), metrics.csv, the Parquet tables lengths/, steps/, hyperparameters/,
    phase/ and range_test/, checkpoints/last.ckpt, figures/lengths.png, and summary.json, which is written last.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / METRICS
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.previous_checkpoint = self.path / "checkpoints" / "previous.ckpt"
        self.figure = self.path / "figures" / "lengths.png"
        self.summary_file = self.path / "summary.json"
        self.begun = False  # whether `begin` has claimed the directory for this object
        self._locked: IO[str] | None = None

    def table(self, name: str) -> Table:
        """Return the table `name`, one of `TABLES`; its directory is created if missing."""
        return Table(self.path / name)

    def config(self, setting: str = "RUN_DIRECTORY", trust: Collection[str] = ()) -> dict[str, Any]:
        """Read the resolved config, and raise ValueError if it names what must not be imported (see `check_trusted`).

        Args:
            setting: the setting that gave this path, for error messages.
            trust: names that may be imported in addition.
        """
        config = self.unchecked_config(setting, trust)
        check_trusted(config, self.config_file, trust)
        return config

    def unchecked_config(self, setting: str = "RUN_DIRECTORY", trust: Collection[str] = ()) -> dict[str, Any]:
        """Read the resolved config, whatever it names: nothing may be built from it, and it may not be hashed."""
        return read_config(self.config_file, f"{setting} = {self.path}", trust)

    def summary(self) -> dict[str, Any] | None:
        """Read summary.json, which the run wrote when it ended; None if it does not exist."""
        return json.loads(self.summary_file.read_text()) if self.summary_file.exists() else None

    @property
    def state(self) -> str:
        """State of the run: `running` in another process, else its summary's `status`, else `killed` or `absent`."""
        if self._is_locked_elsewhere():
            return "running"
        if (summary := self.summary()) is not None:
            return str(summary["status"])
        return "killed" if self.config_file.exists() else "absent"

    @property
    def finished(self) -> bool:
        """Whether the run has completed or diverged, so that there is nothing left to do."""
        summary = self.summary()
        return summary is not None and summary["status"] in FINISHED

    @property
    def resumable(self) -> bool:
        """Whether the run has a checkpoint to resume from: it was interrupted or killed, and has not failed."""
        summary = self.summary()
        return self._has_checkpoint and (summary is None or summary["status"] == "interrupted")

    @property
    def _has_checkpoint(self) -> bool:
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    def claim(self, config: Mapping[str, Any]) -> None:
        """Lock the directory for a run of this (resolved, plain) config, without changing any file of a run in it.

        Raises:
            RunDirectoryLocked: another process is writing a run in the directory.
            ValueError: the directory is not writable, or holds a run of another config, or holds no run but files that
                a run would overwrite.
        """
        self._lock()
        try:
            self.check_free(config)
        except ValueError:
            self.release()
            raise

    def begin(self, config: Mapping[str, Any], *, resume_from: Path | None = None, step: int = 0) -> None:
        """Claim the directory and prepare its files for a run of this config.

        A new run starts with empty tables. A resumed run keeps the rows before `step`; if its checkpoint is in the
        directory of another run, the tables and metrics of that run are copied first.

        Args:
            config: resolved and plain.
            resume_from: the checkpoint to resume from; None: a new run.
            step: the training step of that checkpoint.
        Raises:
            ValueError: the directory cannot be claimed (see `claim`).
            DiskError: the disk is full; no file of an earlier run is changed if it is full from the start.
        """
        self.claim(config)
        reserve_space(self.path)  # before a file of an earlier run is touched
        self.begun = True
        origin = resume_from.resolve().parent.parent if resume_from else None
        in_place = origin == self.path.resolve()
        if not in_place:
            self._clear()
        self.summary_file.unlink(missing_ok=True)
        replace_text(self.config_file, yaml.safe_dump(dict(config), sort_keys=False))
        if origin and not in_place:
            self._copy_tables(origin)
        self.truncate(step)

    def compact(self) -> None:
        """Merge the part files of each table into one file, and delete the earlier checkpoint: the run has ended."""
        for name in TABLES:
            if (self.path / name).exists():
                self.table(name).compact()
        self.previous_checkpoint.unlink(missing_ok=True)

    def truncate(self, step: int) -> None:
        """Delete the rows of the training step `step` and of later steps from all tables and metrics."""
        for name in BY_STEP:
            if (self.path / name).exists():
                self.table(name).truncate(step)
        truncate_metrics(self.metrics_file, step)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, which marks the end of the run. NaN and infinity become null, since JSON lacks them."""
        free_space(self.path)
        replace_text(self.summary_file, json.dumps(finite(summary), indent=2, allow_nan=False) + "\n")

    @property
    def holds_results(self) -> bool:
        """Whether the directory holds a run, other than one that failed or was interrupted before its first step."""
        if not self.config_file.exists():
            return False
        summary = self.summary()
        empty = summary is not None and summary["status"] in ("failed", "interrupted") and summary["steps"] == 0
        return not empty or self._has_checkpoint

    def check_free(self, config: Mapping[str, Any]) -> None:
        """Raise ValueError if the directory holds a run of another config, or files that a run would overwrite."""
        name = f"hydra.run.dir = {self.path}"
        existing = self.unchecked_config("hydra.run.dir", names_in(config)) if self.holds_results else None
        if existing and (settings := differences(existing, config)):
            more = f"; {len(settings) - SHOWN} more" if len(settings) > SHOWN else ""
            raise ValueError(
                f"{name}: already holds a run of another config ({'; '.join(settings[:SHOWN])}{more}); "
                "choose another directory"
            )
        foreign = [file for file in (*FOLDERS, METRICS) if (self.path / file).exists()]
        if foreign and not self.config_file.exists():
            raise ValueError(
                f"{name}: not a run directory, but it holds {', '.join(foreign)}, which a run would overwrite; "
                "choose another directory"
            )

    def _clear(self) -> None:
        for name in FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.metrics_file.unlink(missing_ok=True)

    def _copy_tables(self, origin: Path) -> None:
        for name in TABLES:
            if (origin / name).is_dir():
                shutil.copytree(origin / name, self.path / name)
        if (origin / METRICS).is_file():
            shutil.copy(origin / METRICS, self.metrics_file)

    def _lock(self) -> None:
        """Lock the file `.lock` until `release` or the end of the process, even by SIGKILL; raise as `claim`."""
        if self._locked is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / LOCK).open("w")
        except OSError as error:
            raise ValueError(f"hydra.run.dir = {self.path}: not writable ({reason_of(error)})") from error
        try:
            with self._named_lock_errors():
                locked = lock(file)
            if not locked:
                raise RunDirectoryLocked(f"hydra.run.dir = {self.path}: another process is writing a run here")
        except ValueError:
            file.close()
            raise
        self._locked = file

    def _is_locked_elsewhere(self) -> bool:
        path = self.path / LOCK
        if self._locked is not None or not path.exists():
            return False
        with path.open("r+" if os.access(path, os.W_OK) else "r") as file, self._named_lock_errors():
            return not can_be_locked(file)

    @contextmanager
    def _named_lock_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"hydra.run.dir = {self.path}: its file system does not support file locks ({error.strerror}), which "
                "prevent two processes from writing the same run; choose a directory on another file system"
            ) from error

    def release(self) -> None:
        """Unlock the directory, so that another process can claim it."""
        if self._locked is not None:
            unlock_descriptor(self._locked.fileno())  # a forked process may have the file open, too
            self._locked.close()
            self._locked = None


def finite(value: Any) -> Any:
    """Return plain data (dicts, lists, numbers, …) with NaN and infinity replaced by None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
