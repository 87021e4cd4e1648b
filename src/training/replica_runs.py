"""Train a group of jobs as one program; each run directory ends as that of a run on its own."""

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from start_training.config.errors import ReportedError, is_users_mistake, print_error
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import settings_in
from start_training.ranks import in_joblib_worker
from start_training.replicas.group import ReplicaGroup
from start_training.replicas.group_checkpoint import start_of
from start_training.replicas.memory import is_out_of_memory
from start_training.replicas.replica import Replica
from start_training.runs.checkpoint import load_newest
from start_training.runs.directory import FINISHED, RunDirectory, RunDirectoryLocked
from start_training.runs.job import Job
from start_training.runs.open_files import allow_runs
from start_training.training.record import Record
from start_training.training.replica_build import build_replica, device_of, load_sets
from start_training.training.train import nothing_left_behind, quiet_lightning, show


def train_group(jobs: Sequence[Job], *, checkpoint_seconds: float = 30.0) -> None:
    """Train jobs of one `group_key` together; those that resume at different steps, one group after the other.

    Finished jobs, and jobs whose directory another process holds, are skipped.

    Args:
        checkpoint_seconds: Least time between checkpoints, which are written at ends of epochs. A worker that is
            killed loses what was trained after the last one.
    Raises:
        ReportedError: a job has failed; its summary is written, and the other jobs have been trained.
        Interrupted: a signal was received; all runs have written checkpoints.
    """
    with quiet_lightning(), nothing_left_behind(), _claimed(jobs) as (records, failed):
        for _, together in groupby(sorted(records, key=_start), key=_start):
            failed |= _train_together(list(together), checkpoint_seconds)
    if failed:
        raise ReportedError


@contextmanager
def _claimed(jobs: Sequence[Job]) -> Iterator[tuple[list[Record], bool]]:
    """Records of the jobs that are left to do, whose directories are locked meanwhile; and whether a job has failed."""
    records, failed = list[Record](), False
    allow_runs(len(jobs))
    try:
        for job in jobs:
            run = RunDirectory(job.directory)
            try:
                run.claim(job.config)
                if run.finished:  # by another process, since this one was asked to
                    run.release()
                else:
                    newest = load_newest(run)
                    records.append(Record(job, run, newest[1] if newest else None))
            except RunDirectoryLocked as error:
                print_error(error)
            except ValueError as error:  # no run's directory, or a broken checkpoint
                print_error(error)
                run.release()
                failed = True
        yield records, failed
    finally:
        for record in records:
            record.run.release()


def _start(record: Record) -> tuple[int, int, int]:
    return start_of(record.checkpoint)


def _train_together(records: Sequence[Record], checkpoint_seconds: float) -> bool:
    """Whether one of them has failed."""
    runs = _Runs(device_of(records[0].job.config["trainer"].get("accelerator", "auto")))
    try:
        for record in records:
            runs.add(record)
        runs.train(checkpoint_seconds)
    except BaseException as error:
        runs.end(error)
        raise
    return runs.failed


class GroupProgress:
    """A context with a bar of a group's epochs and of its runs that still train; it vanishes at the end.

    Args:
        shown: Whether the runs' settings ask for it. It also needs a terminal that only this process writes on.
    """

    def __init__(self, group: ReplicaGroup, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._shown = shown and console.is_terminal and not in_joblib_worker()
        self._runs, self._epochs = len(group.replicas), max(1, group.replicas[0].max_epochs or 1)
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=20), TextColumn("{task.fields[runs]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=self._epochs, completed=group.epoch, epoch=group.epoch + 1, runs="")
        group.progress = lambda group: self._show(group, epoch=group.epoch + 1)
        self._show(group, epoch=group.epoch)  # not kept: a cycle of references would keep its GPU memory

    def __enter__(self) -> "GroupProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Hide the bar until the end of the epoch, so that other lines can be printed."""
        if self._shown:
            self._bar.stop()

    def _show(self, group: ReplicaGroup, *, epoch: int) -> None:
        left = f"{len(group.replicas)} of {self._runs} runs"
        self._bar.update(self._task, completed=epoch, epoch=min(epoch + 1, self._epochs), runs=left)
        if self._shown and group.replicas:
            self._bar.start()


@dataclass
class _Runs:
    """Replicas and the records of their runs."""

    device: torch.device
    records: dict[Replica, Record] = field(default_factory=dict)
    progress: GroupProgress | None = None
    failed: bool = False

    def add(self, record: Record) -> None:
        """Build a replica, and begin its run. If that fails, the run has failed, and the others go on."""
        record.__enter__()
        config = record.job.config
        try:
            with settings_in(config):
                replica = build_replica(record, self.device)
                origin = record.run.checkpoint if record.checkpoint else None
                config = {**config, "ckpt_path": str(origin)} if origin else config
                record.run.begin(config, resume_from=origin, step=replica.global_step)
        except Exception as error:
            self._report(error)
            record.__exit__(*_exception(error))
            return
        self.records[replica] = record

    def train(self, checkpoint_seconds: float) -> None:
        """Train all replicas at once, or, where memory runs out, one half after the other."""
        waiting = [list(self.records)]
        while waiting:
            replicas = waiting.pop(0)
            if not replicas:
                continue
            gc.collect()  # frees the memory of earlier groups, which frames and schedules hold in cycles
            try:
                with settings_in(self.records[replicas[0]].job.config):
                    group = self._group(replicas, checkpoint_seconds)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(replicas) == 1:
                    raise
                half = len(replicas) // 2
                waiting[:0] = [replicas[:half], replicas[half:]]
                continue
            shown = self.records[replicas[0]].job.config["trainer"].get("enable_progress_bar", True)
            with GroupProgress(group, shown=shown) as self.progress:
                group.train()
            del group  # and its tensors, before the next one allocates as much

    def end(self, error: BaseException) -> None:
        """End the runs that have begun and that no group has trained yet."""
        for replica in list(self.records):
            self._ended(replica, error)

    def _group(self, replicas: Sequence[Replica], checkpoint_seconds: float) -> ReplicaGroup:
        first = replicas[0]
        record = self.records[first]
        precision = record.job.config["trainer"].get("precision", "32-true")
        dtype = torch.float64 if precision == "64-true" else torch.float32
        sets = load_sets(first.datamodule, self.device, dtype)
        _, batch, _ = _start(record)
        return ReplicaGroup(
            replicas, sets, batch=batch, precision=precision, ended=self._ended, checkpoint_seconds=checkpoint_seconds
        )

    def _ended(self, replica: Replica, error: BaseException | None) -> None:
        """End a run's record. An error in that is reported, and the other runs go on."""
        record = self.records.pop(replica)
        try:
            loggers = build_loggers(record.job, record.run)
            start_loggers(loggers, record.job.config)
            replica.log.others.replay(loggers)
            record.collect_metrics()
        except Exception as failure:
            self._report(failure)
            error = failure
        try:
            record.__exit__(*_exception(error))
        except Exception as failure:  # as where the disk is full
            self._report(failure)
            return
        if record.summary["status"] in FINISHED:
            if self.progress:
                self.progress.pause()
            show(record)

    def _report(self, error: Exception) -> None:
        self.failed = True
        if is_users_mistake(error):
            print_error(error)
        else:
            traceback.print_exception(error)


def _exception(error: BaseException | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)
