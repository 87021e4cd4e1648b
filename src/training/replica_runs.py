"""Train a group of jobs together in one program, and write a run directory for each of them."""

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

from start_training.config.errors import ReportedError, is_user_error, print_error
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import name_setting_in_errors
from start_training.files.disk_errors import DiskError, disk_error
from start_training.files.open_files import raise_open_file_limit
from start_training.ranks import in_joblib_worker
from start_training.replicas.group import ReplicaGroup
from start_training.replicas.group_checkpoint import start_of
from start_training.replicas.memory import is_out_of_memory
from start_training.replicas.replica import Replica
from start_training.runs.checkpoint import load_newest
from start_training.runs.directory import FINISHED, RunDirectory, RunDirectoryLocked
from start_training.runs.job import Job
from start_training.stop_signals import check, deferred
from start_training.training.process_settings import quiet_lightning, restored_process_settings
from start_training.training.record import Record
from start_training.training.replica_build import build_replica, device_of, load_sets
from start_training.training.results import print_results


def train_group(jobs: Sequence[Job], *, checkpoint_seconds: float = 30.0) -> None:
    """Train jobs together as a group of replicas. Jobs that resume at different steps are trained in separate groups.

    Jobs that are finished, or whose directory is locked by another process, are skipped.

    Args:
        jobs: Jobs with the same `group_key`.
        checkpoint_seconds: The minimum time between checkpoints, in seconds; they are written at the end of an epoch.
            If the process is killed, training since the last checkpoint is lost.
    Raises:
        ReportedError: a job has failed; its error is printed and its summary written, and the other jobs are trained.
        Interrupted: SIGINT or SIGTERM was received; all runs have written checkpoints.
    """
    with quiet_lightning(), restored_process_settings(), _claimed(jobs) as (records, failed):
        for _, group in groupby(sorted(records, key=_start), key=_start):
            failed |= _train_together(list(group), checkpoint_seconds)
    if failed:
        raise ReportedError


@contextmanager
def _claimed(jobs: Sequence[Job]) -> Iterator[tuple[list[Record], bool]]:
    """Lock the directories of unfinished jobs within the block; yield their records, and whether a job has failed."""
    records, failed = list[Record](), False
    raise_open_file_limit(len(jobs))
    try:
        for job in jobs:
            run = RunDirectory(job.directory)
            try:
                run.claim(job.config)
                if run.finished:  # another process has finished it since the jobs were selected
                    run.release()
                else:
                    newest = load_newest(run)
                    records.append(Record(job, run, newest[1] if newest else None))
            except RunDirectoryLocked as error:
                print_error(error)
            except ValueError as error:  # not a run directory, or an invalid checkpoint
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
    """Train runs that start at the same step; return whether one of them has failed."""
    runs = _Runs(device_of(records[0].job.config["trainer"].get("accelerator", "auto")))
    with deferred():
        try:
            for record in records:
                check()
                runs.add(record)
            runs.train(checkpoint_seconds)
        except BaseException as error:
            runs.end(error)
            raise
    return runs.failed


class GroupProgress:
    """Context manager that shows a progress bar with the epochs of a group and the number of runs still training.

    Args:
        shown: Whether to show the bar. It is not shown without a terminal, or if other processes write to the terminal.
    """

    def __init__(self, group: ReplicaGroup, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._shown = shown and console.is_terminal and not in_joblib_worker()
        self._runs, self._epochs = len(group.replicas), max(1, group.replicas[0].max_epochs or 1)
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=20), TextColumn("{task.fields[runs]}"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=self._epochs, completed=group.epoch, epoch=group.epoch + 1, runs="")
        group.progress = lambda group: self._show(group, epoch=group.epoch + 1)
        self._show(
            group, epoch=group.epoch
        )  # no reference to the group is stored: a cycle would keep its GPU memory allocated

    def __enter__(self) -> "GroupProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Hide the bar until the end of the epoch, so that lines can be printed."""
        if self._shown:
            self._bar.stop()

    def _show(self, group: ReplicaGroup, *, epoch: int) -> None:
        left = f"{len(group.replicas)} of {self._runs} runs"
        self._bar.update(self._task, completed=epoch, epoch=min(epoch + 1, self._epochs), runs=left)
        if self._shown and group.replicas:
            self._bar.start()


@dataclass
class _Runs:
    device: torch.device
    records: dict[Replica, Record] = field(default_factory=dict)
    progress: GroupProgress | None = None
    failed: bool = False

    def add(self, record: Record) -> None:
        """Build the replica of a job and begin its run; an error is reported and ends this run only."""
        record.__enter__()
        config = record.job.config
        try:
            with name_setting_in_errors(config):
                replica = build_replica(record, self.device)
                origin = record.run.checkpoint if record.checkpoint else None
                config = {**config, "ckpt_path": str(origin)} if origin else config
                record.run.begin(config, resume_from=origin, step=replica.global_step)
        except Exception as error:
            if disk_error(error, record.run.path):
                record.__exit__(*_exception(error))
                raise
            self._report(error)
            record.__exit__(*_exception(error))
            return
        self.records[replica] = record

    def train(self, checkpoint_seconds: float) -> None:
        """Train all replicas together; if memory runs out, train them in halves, one after the other."""
        waiting = [list(self.records)]
        while waiting:
            replicas = waiting.pop(0)
            if not replicas:
                continue
            gc.collect()  # frees the memory of earlier groups, which reference cycles keep allocated
            try:
                with name_setting_in_errors(self.records[replicas[0]].job.config):
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
            del group  # frees its tensors before the next group is allocated

    def end(self, error: BaseException) -> None:
        """End all runs that are not finished yet, with this error as the reason in their summaries."""
        for replica in list(self.records):
            try:
                self._ended(replica, error)
            except DiskError:  # that of `error`, or the next of a run that a signal has ended
                continue

    def _group(self, replicas: Sequence[Replica], checkpoint_seconds: float) -> ReplicaGroup:
        first = replicas[0]
        record = self.records[first]
        precision = record.job.config["trainer"].get("precision", "32-true")
        dtype = torch.float64 if precision == "64-true" else torch.float32
        sets = load_sets(first.datamodule, self.device, dtype)
        _, batch, _ = _start(record)
        return ReplicaGroup(
            replicas, sets, batch=batch, precision=precision, on_end=self._ended, checkpoint_seconds=checkpoint_seconds
        )

    def _ended(self, replica: Replica, error: BaseException | None) -> None:
        """Write the results of a run that has ended; an error while doing so is reported and ends this run only."""
        record = self.records.pop(replica)
        try:
            loggers = build_loggers(record.job, record.run)
            start_loggers(loggers, record.job.config)
            replica.log.others.replay(loggers)
            record.collect_metrics()
        except Exception as failure:
            if not disk_error(failure, record.run.path):
                self._report(failure)
            error = failure
        try:
            record.__exit__(*_exception(error))
        except DiskError:  # ends the whole group, whose runs are on the same disk
            raise
        except Exception as failure:
            self._report(failure)
            return
        if disk := disk_error(error, record.run.path):
            raise disk
        if record.summary["status"] in FINISHED:
            if self.progress:
                self.progress.pause()
            print_results(record)

    def _report(self, error: Exception) -> None:
        self.failed = True
        if is_user_error(error):
            print_error(error)
        else:
            traceback.print_exception(error)


def _exception(error: BaseException | None) -> tuple[Any, Any, Any]:
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)
