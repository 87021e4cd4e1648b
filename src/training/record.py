"""Write summary, figures and W&B results of a run when it ends, also after an error."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from types import TracebackType
from typing import Any

import pytorch_lightning as pl
import wandb
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn

from start_training.callbacks.contracts import stop_reason, summaries
from start_training.config.build_task import merit_of
from start_training.config.data_sizes import chance_of
from start_training.figures.save import save_figure
from start_training.files.disk_errors import DiskError, collected_disk_errors, disk_error
from start_training.initializers.initialization import Initialization
from start_training.ranks import is_lost_connection, is_rank_zero
from start_training.replicas.memory import is_out_of_memory
from start_training.replicas.replica import Replica
from start_training.reports import run_report
from start_training.reports.run_clues import clues_of
from start_training.runs.directory import FINISHED, TABLES, RunDirectory
from start_training.runs.job import Job
from start_training.runs.metrics_file import newest_metrics
from start_training.runs.outcome import Diverged, RunLost
from start_training.settings import described
from start_training.stop_signals import Interrupted, received
from start_training.tasks.merit import Merit, objective
from start_training.training.rank_processes import RankProcesses, report_error


@dataclass
class Record:
    """Context manager of a run that writes its results at the end, also after an error.

    It writes summary.json and figures, and finishes the W&B run. `Diverged` is suppressed, since a run that diverges
    has a valid result. Nothing is written on ranks above 0 (except their errors, for rank 0), nor if the run was
    interrupted before it began, or failed before it began and the directory has the results of an earlier run.

    An error that says nothing about the settings of the run, since memory ran out or a rank was lost, is raised as
    `RunLost`. The error of another rank is raised as a ValueError with that rank's message.

    Attributes:
        job: The job of the run.
        run: The run's directory.
        checkpoint: The content of the checkpoint that the run resumes from; None for a new run.
        net: The net, None until it is built. `initialization`, `initializer` and `trainer` likewise.
        initializer: The initializer, if all weights of the net were drawn by it or the readout's initializer.
        metrics: The newest value of each metric.
        lengths: The activation lengths of the run, if recorded.
        summary: The content of summary.json, empty before it is written.
        ranks: The other processes of the run.
    """

    job: Job
    run: RunDirectory
    checkpoint: dict[str, Any] | None = None
    net: nn.Module | None = None
    initialization: Initialization | None = None
    initializer: object = None
    trainer: pl.Trainer | Replica | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    lengths: run_report.RecordedLengths | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ranks = RankProcesses(self.run, on_hang=self._write_summary)

    def __enter__(self) -> "Record":
        self._began = monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        stopped = is_lost_connection(error) and received()  # all ranks got the signal, and another one ended first
        status, reason, exit_status = self._outcome(Interrupted(received()) if stopped else error)
        self.ranks.close()
        try:
            if not is_rank_zero():
                if isinstance(error, Exception) and status != "diverged" and not is_lost_connection(error):
                    report_error(self.run, status, reason)
            elif self.run.begun or not (status == "interrupted" or self.run.holds_results):
                self._write(status, reason, error)
        finally:
            if wandb.run is not None:
                wandb.finish(exit_status)
            self.run.release()
        if stopped:
            raise Interrupted(received()) from error
        if is_lost_connection(error):
            raise (RunLost if status == "interrupted" else ValueError)(reason) from error
        if error is not None and is_out_of_memory(error) and status == "interrupted":
            raise RunLost(reason) from error
        return status == "diverged"

    @property
    def merit(self) -> Merit:
        """The merit by which the run is compared with others."""
        return merit_of(self.job.config)

    def collect_metrics(self) -> None:
        """Store the newest value of each metric, since Lightning resets them between fitting and testing."""
        if self.trainer is not None:
            self.metrics |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def _outcome(self, error: BaseException | None) -> tuple[str, str, int]:
        if error is None:
            assert self.trainer is not None
            return "completed", end_reason(self.trainer), 0
        if isinstance(error, Diverged):
            return "diverged", str(error), 0
        if isinstance(error, Interrupted):
            return "interrupted", str(error), error.exit_status
        if isinstance(error, KeyboardInterrupt | SystemExit):  # Lightning turns a KeyboardInterrupt into a SystemExit
            return "interrupted", "stopped by a KeyboardInterrupt", 130
        if is_lost_connection(error):
            return *self.ranks.lost(), 1
        has_begun = self.run.begun or (self.trainer is not None and not is_rank_zero())
        if is_out_of_memory(error) and has_begun:  # earlier, the net or the data are too large
            return "interrupted", f"out of memory ({described(error)}); free memory, or use a smaller net or batch", 1
        if (disk := disk_error(error, self.run.path)) is not None:
            return "interrupted", str(disk), 1
        return "failed", described(error), 1

    def _write(self, status: str, reason: str, error: BaseException | None) -> None:
        """Write tables, figures and summary. If the disk is full, write the summary all the same, and then raise."""
        if not self.run.begun:
            self.run.begin(self.job.config)
        self.collect_metrics()
        disk_errors = list[DiskError]()
        with collected_disk_errors(disk_errors, self.run.path):
            self._write_files(status, error)
        recorded = summaries(callbacks_of(self.trainer))
        if status in ("completed", "diverged") and not disk_errors:
            recorded["clues"] = self._clues(error)
        if wandb.run is not None:
            with collected_disk_errors(disk_errors, self.run.path):
                reached = objective(newest_metrics(self.run.metrics_file) | self.metrics, status, self.merit)
                self._log_to_wandb({"status": status, "reason": reason, "objective": reached, **recorded})
        if disk_errors and status in FINISHED:
            status, reason = "interrupted", str(disk_errors[0])  # so that a sweep resumes it and writes the rest
        self._write_summary(status, reason, recorded)
        if disk_errors and (error is None or isinstance(error, Diverged)):
            raise disk_errors[0]

    def _write_summary(self, status: str, reason: str, recorded: Mapping[str, Any] | None = None) -> None:
        metrics = newest_metrics(self.run.metrics_file) | self.metrics
        self.summary = {
            "status": status,
            "reason": reason,
            "metrics": metrics,
            **({"objective": objective(metrics, status, self.merit)} if status in FINISHED else {}),
            "steps": self.trainer.global_step if self.trainer else 0,
            "epochs": self.trainer.current_epoch if self.trainer else 0,
            "seconds": round(monotonic() - self._began, 3),
            **self.job.origin,
            **(self.initialization.summary() if self.initialization else {}),
            **(recorded or {}),
        }
        self.run.write_summary(self.summary)

    def _write_files(self, status: str, error: BaseException | None) -> None:
        if isinstance(error, Diverged):
            self.run.truncate(error.step + 1)  # a GPU takes further steps before the loss is read
        if status in FINISHED:
            self.run.compact()
        if self.net is not None:
            self.lengths = run_report.recorded_lengths(self.run, self.net, self.initializer)
        if self.lengths is not None:
            for name, figure in run_report.figures(self.lengths, self._title).items():
                save_figure(figure, self.run.figures / name)

    @property
    def _title(self) -> str:
        if isinstance(self.net, pl.LightningModule):  # of the user, which builds its nets itself
            return replace(self.job, config={**self.job.config, "model": self.job.config["task"]}).title
        return self.job.title

    def _clues(self, error: BaseException | None) -> dict[str, Any]:
        diverged_at = error.step if isinstance(error, Diverged) else None
        chance = chance_of(self.job.config, getattr(self.trainer, "datamodule", None))
        return clues_of(self.run, self.job.config, merit=self.merit, chance=chance, diverged_at=diverged_at)

    def _log_to_wandb(self, summary: Mapping[str, Any]) -> None:
        assert wandb.run is not None
        wandb.run.summary.update(dict(summary))
        artifact = wandb.Artifact(f"run-{wandb.run.id}", type="tables")
        for name in TABLES:
            for file in sorted((self.run.path / name).glob("*.parquet")):
                artifact.add_file(str(file), name=f"{name}/{file.name}")
        wandb.run.log_artifact(artifact)
        if figures := sorted(self.run.figures.glob("*.png")):
            wandb.run.log({file.stem: wandb.Image(str(file)) for file in figures})


def end_reason(trainer: pl.Trainer | Replica) -> str:
    """Return why a run without an error has ended, as the entry `reason` of its summary."""
    callbacks = callbacks_of(trainer)
    if (reason := stop_reason(callbacks)) is not None:
        return reason
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            return f"stopped early: {callback.monitor} did not improve for {callback.patience} epochs"
    if 0 < trainer.max_steps <= trainer.global_step:
        return f"max_steps = {trainer.max_steps} reached"
    if trainer.should_stop:
        return "stopped by a callback"
    return f"max_epochs = {trainer.max_epochs} reached"


def callbacks_of(trainer: object) -> list[pl.Callback]:
    """Return the callbacks of a Trainer (which does not declare the attribute) or a replica; an empty list for None."""
    return getattr(trainer, "callbacks", [])
