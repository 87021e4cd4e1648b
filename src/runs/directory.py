"""The directory of one run: its files, the lock that allows one writer at a time, and the state of the run."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from start_training.files.damaged_file import DamagedFile, set_aside
from start_training.files.file_lock import DirectoryLock
from start_training.files.file_lock import RunDirectoryLocked as RunDirectoryLocked
from start_training.files.replaced_file import replace_text
from start_training.files.reserved_space import free_space, reserve_space
from start_training.runs.beginning import FOLDERS, TABLES, Recorded, clear
from start_training.runs.config_hash import config_hash
from start_training.runs.documents import FINISHED, finite, read_config, read_summary
from start_training.runs.metrics_file import NAME as METRICS
from start_training.runs.metrics_file import truncate_metrics
from start_training.runs.moved_targets import current_targets
from start_training.runs.saved_config import differences
from start_training.runs.table import COLUMNS, Table, read_rows
from start_training.runs.trust import check_trusted, names_in, within

# Tables with one row or more per training step; a resumed run keeps the rows before its first step.
BY_STEP = tuple(name for name in TABLES if name != "range_test")
DAMAGED = "damaged"  # state of a run whose summary.json or .lock cannot be read
SHOWN = 5  # number of differing settings listed in an error message


class RunDirectory:
    """The directory of a run at `path`, which need not exist yet.

    Its files are config.yaml (the resolved config), metrics.csv, the Parquet tables lengths/, steps/, hyperparameters/,
    phase/ and range_test/, checkpoints/last.ckpt, figures/, and summary.json, which is written last.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / METRICS
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.previous_checkpoint = self.path / "checkpoints" / "previous.ckpt"
        self.figures = self.path / "figures"
        self.summary_file = self.path / "summary.json"
        self.damaged_checkpoints: list[Path] = []  # those that `load_newest` could not read
        self.begun = False  # whether `begin` has claimed the directory for this object
        self._lock = DirectoryLock(self.path)

    def table(self, name: str) -> Table:
        """Return the table `name`, one of `TABLES`; its directory is created if missing."""
        return Table(self.path / name)

    def rows(self, name: str) -> pd.DataFrame | None:
        """Read the table `name`, one of `TABLES`; None if it has no rows. Raises `DamagedFile`."""
        return read_rows(self.path / name, columns=COLUMNS[name])

    def existing_rows(self, name: str) -> pd.DataFrame:
        """Read a table of a finished run, which must have rows. Raises `DamagedFile`."""
        if (rows := self.rows(name)) is None:
            raise DamagedFile(self.path / name, "the run has finished, but this table has no rows")
        return rows

    def config(self, setting: str = "RUN_DIRECTORY", trust: Collection[str] = ()) -> dict[str, Any]:
        """Read the resolved config, and raise ValueError if it names what must not be imported (see `check_trusted`).

        Args:
            setting: the setting that gave this path, for error messages.
            trust: names that may be imported in addition.
        Raises:
            DamagedFile: config.yaml is damaged.
            ValueError: there is no config.yaml, or it names something else (`Untrusted`).
        """
        config = self.unchecked_config(setting, trust)
        check_trusted(config, self.config_file, trust)
        return config

    def unchecked_config(self, setting: str = "RUN_DIRECTORY", trust: Collection[str] = ()) -> dict[str, Any]:
        """Read the resolved config, whatever it names: nothing may be built from it, and it may not be hashed."""
        if not os.path.lexists(self.config_file):
            raise ValueError(f"{setting} = {self.path}: not a run directory (it has no {self.config_file.name})")
        return current_targets(read_config(self.config_file), lambda target: within(target, trust))

    def summary(self) -> dict[str, Any] | None:
        """Read summary.json, which the run wrote when it ended; None if it does not exist. Raises `DamagedFile`."""
        return read_summary(self.summary_file)

    @property
    def state(self) -> str:
        """State of the run: `running` in another process, else its summary's `status`, else `killed` or `absent`.

        It is `damaged` if that cannot be told, because summary.json or `.lock` is damaged.
        """
        try:
            if self._lock.is_held_elsewhere():
                return "running"
        except DamagedFile:
            return DAMAGED
        return self._status() or ("killed" if os.path.lexists(self.config_file) else "absent")

    @property
    def finished(self) -> bool:
        """Whether the run is known to have completed or diverged, so that there is nothing left to do."""
        return self._status() in FINISHED

    @property
    def resumable(self) -> bool:
        """Whether the run has a checkpoint to resume from, and has neither finished nor failed, as far as is known.

        A run whose summary.json is damaged resumes: its checkpoint is that of its end, if it had ended.
        """
        return self._has_checkpoint and self._status() in (None, "interrupted", DAMAGED)

    @property
    def damaged(self) -> bool:
        """Whether there is a summary.json that cannot be read."""
        return self._status() == DAMAGED

    def _status(self) -> str | None:
        try:
            summary = self.summary()
        except DamagedFile:
            return DAMAGED
        return None if summary is None else str(summary["status"])

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
        self._lock.acquire()
        try:
            self.check_free(config)
        except ValueError:
            self.release()
            raise

    def begin(self, config: Mapping[str, Any], *, resume_from: Path | None = None, step: int = 0) -> None:
        """Claim the directory and prepare its files for a run of this config.

        A new run starts with empty tables. A resumed run keeps the rows before `step`; if its checkpoint is in the
        directory of another run, the tables and metrics of that run are copied first. Files that cannot be read are
        renamed to NAME.damaged, and a line is printed: tables and metrics, whose other rows are kept; summary.json;
        config.yaml; and `damaged_checkpoints`. A new run over a damaged one sets aside all of its files.

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
        origin = resume_from.resolve().parent.parent if resume_from else None
        recorded = Recorded(origin) if origin else None  # all is read before anything is changed
        in_place = origin == self.path.resolve()
        if not in_place:
            clear(self.path, keep=self.damaged or bool(self.damaged_checkpoints))
        for checkpoint in filter(Path.exists, self.damaged_checkpoints):
            set_aside(checkpoint, self.path)
        if recorded and in_place:
            recorded.repair()
        if self.damaged:
            set_aside(self.summary_file, self.path)
        self.summary_file.unlink(missing_ok=True)
        if self._config_damage(config):
            set_aside(self.config_file, self.path)
        replace_text(self.config_file, yaml.safe_dump(dict(config), sort_keys=False))
        if recorded and not in_place:
            recorded.copy_to(self.path)
        self.truncate(step)
        self.begun = True  # not earlier: if a file cannot be changed, the run is as one that was killed

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
        if not os.path.lexists(self.config_file):
            return False
        if self._status() not in ("failed", "interrupted") or self._has_checkpoint:
            return True
        return (self.summary() or {}).get("steps") != 0

    def check_free(self, config: Mapping[str, Any]) -> None:
        """Raise ValueError if the directory holds a run of another config, or files that a run would overwrite."""
        name = f"hydra.run.dir = {self.path}"
        if self.holds_results and not self._config_damage(config):
            existing = self.unchecked_config("hydra.run.dir", names_in(config))
            if settings := differences(existing, config):
                more = f"; {len(settings) - SHOWN} more" if len(settings) > SHOWN else ""
                raise ValueError(
                    f"{name}: already holds a run of another config ({'; '.join(settings[:SHOWN])}{more}); "
                    "choose another directory"
                )
        foreign = [file for file in (*FOLDERS, METRICS) if (self.path / file).exists()]
        if foreign and not os.path.lexists(self.config_file):
            raise ValueError(
                f"{name}: not a run directory, but it holds {', '.join(foreign)}, which a run would overwrite; "
                "choose another directory"
            )

    def _config_damage(self, config: Mapping[str, Any]) -> bool:
        """Whether config.yaml is damaged in a directory that is known to be of this config, as by its name, the hash.

        If it is damaged and the config of the run is not known, `DamagedFile` is raised, since the directory may hold
        another run.
        """
        if not os.path.lexists(self.config_file):
            return False
        is_known = self.path.name == config_hash(config)
        try:
            existing = self.unchecked_config(trust=names_in(config))
        except DamagedFile:
            if self.holds_results and not is_known:
                raise
            return True
        return is_known and bool(differences(existing, config))

    def release(self) -> None:
        """Unlock the directory, so that another process can claim it."""
        self._lock.release()
