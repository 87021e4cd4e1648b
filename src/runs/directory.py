"""The directory of one run: what lies where, who may write there, and the summary written last."""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import lock_descriptor

from start_training.runs.config_hash import config_hash, differing_settings
from start_training.runs.metrics_file import NAME as METRICS
from start_training.runs.metrics_file import truncate_metrics
from start_training.runs.moved_targets import current_targets
from start_training.runs.replaced_file import replaced
from start_training.runs.table import Table

# Their rows are training steps, which a resumed run goes on from.
BY_STEP = ("lengths", "steps", "hyperparameters", "phase")
TABLES = (*BY_STEP, "range_test")
FOLDERS = (*TABLES, "checkpoints", "figures")
LOCK = ".lock"
FINISHED = ("completed", "diverged")
SHOWN = 5  # settings that are named one by one
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it: ten times as fast


class RunDirectoryLocked(ValueError):
    """Another process is writing a run in the directory."""


class RunDirectory:
    """A run's files under `path`.

    config.yaml (the resolved config), metrics.csv, the tables (Parquet) lengths/, steps/, hyperparameters/, phase/
    and range_test/, checkpoints/last.ckpt, figures/lengths.png, and summary.json, which is written when the run ends.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / METRICS
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"
        self.previous_checkpoint = self.path / "checkpoints" / "previous.ckpt"
        self.figure = self.path / "figures" / "lengths.png"
        self.summary_file = self.path / "summary.json"
        self.begun = False  # whether this object has written here
        self._locked: IO[str] | None = None

    def table(self, name: str) -> Table:
        """One of `TABLES`."""
        return Table(self.path / name)

    def config(self, setting: str = "RUN_DIRECTORY") -> dict[str, Any]:
        """The resolved config that the run was started with. Raises ValueError where there is none."""
        if not self.config_file.is_file():
            raise ValueError(f"{setting} = {self.path}: holds no run (no {self.config_file.name})")
        try:
            config = yaml.load(self.config_file.read_text(), _LOADER)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{setting} = {self.path}: its {self.config_file.name} is damaged ({error})") from error
        if not isinstance(config, dict):
            raise ValueError(f"{setting} = {self.path}: its {self.config_file.name} is not a run's")
        return current_targets(config)

    def summary(self) -> dict[str, Any] | None:
        """The summary that the run wrote when it ended; None before."""
        return json.loads(self.summary_file.read_text()) if self.summary_file.exists() else None

    @property
    def state(self) -> str:
        """How the run ended (its summary's `status`), or, of one that has not: `running`, `killed` or `absent`."""
        if self._is_locked_elsewhere():
            return "running"
        if (summary := self.summary()) is not None:
            return str(summary["status"])
        return "killed" if self.config_file.exists() else "absent"

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: the run completed or diverged, as its summary, written last, says."""
        summary = self.summary()
        return summary is not None and summary["status"] in FINISHED

    @property
    def resumable(self) -> bool:
        """Whether a signal or a kill ended the run after its first checkpoint; a failed run starts anew."""
        summary = self.summary()
        return self._has_checkpoint and (summary is None or summary["status"] == "interrupted")

    @property
    def _has_checkpoint(self) -> bool:
        return self.checkpoint.exists() or self.previous_checkpoint.exists()

    def claim(self, config: Mapping[str, Any]) -> None:
        """Lock the directory for a run of this config, and change no file in it.

        Raises:
            RunDirectoryLocked: another process writes here.
            ValueError: the directory cannot be written to, or it holds a run of another config, or files that are no
                run's but have the names of a run's files.
        """
        self._lock()
        try:
            self._check_free(config)
        except ValueError:
            self.release()
            raise

    def begin(self, config: Mapping[str, Any], *, resume_from: Path | None = None, step: int = 0) -> None:
        """Claim the directory and write what a run of this config starts from.

        A new run starts empty. One that resumes keeps the rows before its step, or copies them from another run.

        Args:
            config: the run's, resolved.
            resume_from: the checkpoint that it resumes from; None: a new run.
            step: at which that checkpoint was written.

        Raises:
            ValueError: as `claim`.
        """
        self.claim(config)
        self.begun = True
        origin = resume_from.resolve().parent.parent if resume_from else None
        here = origin == self.path.resolve()
        if not here:
            self._clear()
        self.summary_file.unlink(missing_ok=True)
        _replace(self.config_file, yaml.safe_dump(dict(config), sort_keys=False))
        if origin and not here:
            self._inherit(origin)
        self.truncate(step)

    def compact(self) -> None:
        """Join the parts of each table in one file, and delete the earlier checkpoint: the run has ended."""
        for name in TABLES:
            if (self.path / name).exists():
                self.table(name).compact()
        self.previous_checkpoint.unlink(missing_ok=True)

    def truncate(self, step: int) -> None:
        """Drop all rows of the training step `step` and later ones."""
        for name in BY_STEP:
            if (self.path / name).exists():
                self.table(name).truncate(step)
        truncate_metrics(self.metrics_file, step)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """The last thing a run writes. Numbers that are not finite become null: JSON has none."""
        _replace(self.summary_file, json.dumps(finite(summary), indent=2, allow_nan=False) + "\n")

    @property
    def holds_results(self) -> bool:
        """Whether a run has results here: not if it failed or was interrupted before its first step."""
        if not self.config_file.exists():
            return False
        summary = self.summary()
        cut_off = summary is not None and summary["status"] in ("failed", "interrupted") and summary["steps"] == 0
        return not cut_off or self._has_checkpoint

    def _check_free(self, config: Mapping[str, Any]) -> None:
        name = f"hydra.run.dir = {self.path}"
        if self.holds_results and config_hash(existing := self.config("hydra.run.dir")) != config_hash(config):
            settings = differing_settings(existing, config)
            more = f"; {len(settings) - SHOWN} more" if len(settings) > SHOWN else ""
            raise ValueError(
                f"{name}: already holds a run of another config ({'; '.join(settings[:SHOWN])}{more}); "
                "choose another directory"
            )
        foreign = [file for file in (*FOLDERS, METRICS) if (self.path / file).exists()]
        if foreign and not self.config_file.exists():
            raise ValueError(
                f"{name}: holds no run, but {', '.join(foreign)}, which a run would overwrite; choose another directory"
            )

    def _clear(self) -> None:
        for name in FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        self.metrics_file.unlink(missing_ok=True)

    def _inherit(self, origin: Path) -> None:
        for name in TABLES:
            if (origin / name).is_dir():
                shutil.copytree(origin / name, self.path / name)
        if (origin / METRICS).is_file():
            shutil.copy(origin / METRICS, self.metrics_file)

    def _lock(self) -> None:
        """Lock the directory until `release` or the end of the process, also by SIGKILL: the file itself locks nothing.

        Raises RunDirectoryLocked where another process has it, ValueError where there can be no lock.
        """
        if self._locked is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / LOCK).open("w")
        except OSError as error:
            raise ValueError(f"hydra.run.dir = {self.path}: cannot be written to ({error.strerror})") from error
        try:
            if not self._acquires(file, pause=0.02):
                raise RunDirectoryLocked(f"hydra.run.dir = {self.path}: another process is writing a run here")
        except ValueError:
            file.close()
            raise
        self._locked = file

    def _is_locked_elsewhere(self) -> bool:
        lock = self.path / LOCK
        if self._locked is not None or not lock.exists():
            return False
        with lock.open("r+" if os.access(lock, os.W_OK) else "r") as file:  # NFS wants it writable
            return not self._acquires(file, pause=0.002)

    def _acquires(self, file: IO[str], *, pause: float) -> bool:
        """Whether the lock could be had within five tries: a process that reads `state` holds it for a moment."""
        try:
            for seconds in (pause, pause, pause, pause, 0):
                if lock_descriptor(file.fileno(), blocking=False):
                    return True
                time.sleep(seconds)
        except OSError as error:
            raise ValueError(
                f"hydra.run.dir = {self.path}: its file system refuses locks ({error.strerror}), which keep two "
                "processes from writing one run; choose a directory on another file system"
            ) from error
        return False

    def release(self) -> None:
        """Let another process take the directory."""
        if self._locked is not None:
            self._locked.close()
            self._locked = None


def _replace(path: Path, text: str) -> None:
    with replaced(path) as partial:
        partial.write_text(text)


def finite(value: Any) -> Any:
    """Plain data with None, as JSON has nothing better, in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
