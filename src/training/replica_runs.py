"""Train a group of jobs as one program, and leave each one's run directory as its own run would have left it."""

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

from start_training.config.errors import ReportedError, is_users_mistake, print_error
from start_training.config.loggers import build_loggers, start_loggers
from start_training.config.mistakes import settings_in
from start_training.replicas.caches import is_out_of_memory
from start_training.replicas.group import Group
from start_training.replicas.replica import Replica
from start_training.runs.directory import FINISHED, RunDirectory, RunDirectoryLocked
from start_training.runs.job import Job
from start_training.runs.open_files import allow_runs
from start_training.training.record import Record
from start_training.training.replica_build import ClaimedJob, build_replica, device_of, load_sets, resumes_from
from start_training.training.replica_progress import GroupProgress
from start_training.training.train import nothing_left_behind, quiet_lightning, show


def train_group(jobs: Sequence[Job], *, checkpoint_seconds: float = 30.0) -> None:
    """Train jobs of one `group_key` together. One that is finished, or that another process holds, is left alone.

    Those that resume at different steps train apart. A job that fails leaves its summary, and the others go on; in the
    end that raises `ReportedError`. After a signal all leave checkpoints, and `Interrupted` is raised.
    checkpoint_seconds: between checkpoints, which are taken at ends of epochs; a worker that is killed loses what came
    after the last.
    """
    with quiet_lightning(), nothing_left_behind(), _claimed(jobs) as (members, failed):
        for _, standing in groupby(sorted(members, key=lambda member: member.start), key=lambda member: member.start):
            failed |= _train_together(list(standing), checkpoint_seconds)
    if failed:
        raise ReportedError


@contextmanager
def _claimed(jobs: Sequence[Job]) -> Iterator[tuple[list[ClaimedJob], bool]]:
    """The jobs that are this process's to train, whose directories nobody else writes in until it lets go of them.

    And whether one has failed, as its directory cannot be its.
    """
    members, failed = list[ClaimedJob](), False
    allow_runs(len(jobs))
    try:
        for job in jobs:
            run = RunDirectory(job.directory)
            try:
                run.claim(job.config)
                if run.finished:  # by another process, since this one was asked to
                    run.release()
                else:
                    members.append(ClaimedJob(job, run, resumes_from(run)))
            except RunDirectoryLocked as error:
                print_error(error)
            except ValueError as error:  # it holds no run, or a broken checkpoint
                print_error(error)
                run.release()
                failed = True
        yield members, failed
    finally:
        for member in members:
            member.run.release()


def _train_together(members: Sequence[ClaimedJob], checkpoint_seconds: float) -> bool:
    """Whether one of them has failed."""
    runs = _Runs(device_of(members[0].config["trainer"].get("accelerator", "auto")))
    try:
        for member in members:
            runs.add(member)
        runs.train(checkpoint_seconds)
    except BaseException as error:
        runs.end(error)
        raise
    return runs.failed


@dataclass
class _Runs:
    """Replicas and the records of their runs."""

    device: torch.device
    members: dict[Replica, ClaimedJob] = field(default_factory=dict)
    records: dict[Replica, Record] = field(default_factory=dict)
    progress: GroupProgress | None = None
    failed: bool = False

    def add(self, member: ClaimedJob) -> None:
        """Build a replica, and begin its run. One for which that cannot be done has failed, and is left out."""
        record = Record(member.job, member.run)
        record.__enter__()
        try:
            with settings_in(member.config):
                replica, record.initializer = build_replica(member, self.device)
                origin = member.run.checkpoint if member.checkpoint else None
                config = {**member.config, "ckpt_path": str(origin)} if origin else member.config
                member.run.begin(config, resume_from=origin, step=replica.global_step)
        except Exception as error:
            self._report(error)
            record.__exit__(*_exception(error))
            return
        record.net, record.trainer = replica.net, replica
        self.members[replica], self.records[replica] = member, record

    def train(self, checkpoint_seconds: float) -> None:
        """All of them at once, or, where memory does not bear that, first the one half."""
        waiting = [list(self.records)]
        while waiting:
            replicas = waiting.pop(0)
            if not replicas:
                continue
            gc.collect()  # groups that are over, with their memory: frames and schedules hold them in cycles
            try:
                with settings_in(self.members[replicas[0]].config):
                    group = self._group(replicas, checkpoint_seconds)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(replicas) == 1:
                    raise
                half = len(replicas) // 2
                waiting[:0] = [replicas[:half], replicas[half:]]
                continue
            shown = self.members[replicas[0]].config["trainer"].get("enable_progress_bar", True)
            with GroupProgress(group, shown=shown) as self.progress:
                group.train()
            del group  # with its tensors, before the next one takes as much

    def end(self, error: BaseException) -> None:
        """Leave the summaries of runs that were begun, and that no group has come to train."""
        for replica in list(self.records):
            self._ended(replica, error)

    def _group(self, replicas: Sequence[Replica], checkpoint_seconds: float) -> Group:
        first = replicas[0]
        precision = self.members[first].config["trainer"].get("precision", "32-true")
        dtype = torch.float64 if precision == "64-true" else torch.float32
        sets = load_sets(first.datamodule, self.device, dtype)
        batch = self.members[first].start[1]
        return Group(
            replicas, sets, batch=batch, precision=precision, ended=self._ended, checkpoint_seconds=checkpoint_seconds
        )

    def _ended(self, replica: Replica, error: BaseException | None) -> None:
        """Leave a run's summary, figure and W&B run behind. What keeps it from that is no matter of the others'."""
        record, member = self.records.pop(replica), self.members.pop(replica)
        try:
            loggers = build_loggers(member.job, member.run)
            start_loggers(loggers, member.config)
            replica.log.replay(loggers)
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
