"""The record of a run being trained, which ends with its summary, its figure and its W&B run, whatever ends the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any

import pytorch_lightning as pl
import wandb
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn

from start_training.callbacks.contracts import stop_reason, summaries
from start_training.ranks import is_rank_zero
from start_training.replicas.replica import Replica
from start_training.reports import run_report
from start_training.reports.run_clues import clues_of
from start_training.runs.directory import TABLES, RunDirectory
from start_training.runs.job import Job
from start_training.runs.metrics_file import newest_metrics
from start_training.runs.outcome import Diverged, Interrupted
from start_training.settings import described


@dataclass
class Record:
    """A context that ends with summary.json. It suppresses `Diverged`, since a run that diverges is a result.

    On ranks above 0 it writes nothing, and neither where the directory holds an earlier run and this one failed before
    it began.

    Attributes:
        checkpoint: The checkpoint that the run resumes from.
        net: This one, `initializer` and `trainer` are set as soon as they are built.
    """

    job: Job
    run: RunDirectory
    checkpoint: dict[str, Any] | None = None
    net: nn.Module | None = None
    initializer: object = None
    trainer: pl.Trainer | Replica | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    lengths: run_report.RecordedLengths | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> "Record":
        self._began = monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        status, reason, exit_status = self._outcome(error)
        try:
            if is_rank_zero() and (self.run.begun or not self.run.holds_results):
                self._write(status, reason, error)
        finally:
            if wandb.run is not None:
                wandb.finish(exit_status)
            self.run.release()
        return status == "diverged"

    def collect_metrics(self) -> None:
        """Keep the newest value of each metric: Lightning forgets them between fitting and testing."""
        if self.trainer is not None:
            self.metrics |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def _outcome(self, error: BaseException | None) -> tuple[str, str, int]:
        if error is None:
            assert self.trainer is not None
            return "completed", reason_to_end(self.trainer), 0
        if isinstance(error, Diverged):
            return "diverged", str(error), 0
        if isinstance(error, Interrupted):
            return "interrupted", str(error), error.exit_status
        if isinstance(error, KeyboardInterrupt | SystemExit):  # Lightning turns a KeyboardInterrupt into a SystemExit
            return "interrupted", "stopped at once; the checkpoint is the last epoch's", 130
        return "failed", described(error), 1

    def _write(self, status: str, reason: str, error: BaseException | None) -> None:
        if not self.run.begun:
            self.run.begin(self.job.config)
        self.collect_metrics()
        if isinstance(error, Diverged):
            self.run.truncate(error.step + 1)  # steps that a GPU has taken before the loss was read
        if status in ("completed", "diverged"):
            self.run.compact()
        if self.net is not None:
            self.lengths = run_report.recorded_lengths(self.run, self.net, self.initializer)
        if self.lengths is not None:
            self.run.figure.parent.mkdir(exist_ok=True)
            run_report.figure(self.lengths, self.job.name).savefig(self.run.figure, dpi=160)
        recorded = summaries(callbacks_of(self.trainer))
        if status in ("completed", "diverged"):
            recorded["clues"] = self._clues(error)
        if wandb.run is not None:
            self._mirror({"status": status, **recorded})
        self.summary = {
            "status": status,
            "reason": reason,
            "metrics": newest_metrics(self.run.metrics_file) | self.metrics,
            "steps": self.trainer.global_step if self.trainer else 0,
            "epochs": self.trainer.current_epoch if self.trainer else 0,
            "seconds": round(monotonic() - self._began, 3),
            **self.job.origin,
            **recorded,
        }
        self.run.write_summary(self.summary)

    def _clues(self, error: BaseException | None) -> dict[str, Any]:
        classes = getattr(getattr(self.trainer, "datamodule", None), "classes", None)
        diverged_at = error.step if isinstance(error, Diverged) else None
        return clues_of(self.run, self.job.config, classes=classes, diverged_at=diverged_at)

    def _mirror(self, summary: Mapping[str, Any]) -> None:
        assert wandb.run is not None
        wandb.run.summary.update(dict(summary))
        artifact = wandb.Artifact(f"run-{wandb.run.id}", type="tables")
        for name in TABLES:
            for file in sorted((self.run.path / name).glob("*.parquet")):
                artifact.add_file(str(file), name=f"{name}/{file.name}")
        wandb.run.log_artifact(artifact)
        if self.run.figure.exists():
            wandb.run.log({"lengths": wandb.Image(str(self.run.figure))})


def reason_to_end(trainer: pl.Trainer | Replica) -> str:
    """Why a run that was not cut short has ended."""
    callbacks = callbacks_of(trainer)
    if (reason := stop_reason(callbacks)) is not None:
        return reason
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            return f"stopped early: {callback.monitor} had not improved for {callback.patience} epochs"
    if 0 < trainer.max_steps <= trainer.global_step:
        return f"max_steps = {trainer.max_steps} reached"
    if trainer.should_stop:
        return "a callback asked to stop"
    return f"max_epochs = {trainer.max_epochs} reached"


def callbacks_of(trainer: object) -> list[pl.Callback]:
    """The callbacks of a Trainer, whose class does not declare them, or a replica; none where there is no trainer."""
    return getattr(trainer, "callbacks", [])
