"""The metrics of a replica, kept in memory until there is time to write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from start_training.runs.metrics_file import MetricsFile, MetricsLogger


class DeferredMetricsFile(MetricsFile):
    """metrics.csv, which is written by `flush` alone."""

    def __init__(self, save_dir: Path) -> None:
        super().__init__(save_dir)
        self._pending: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        self._pending.append((dict(metrics), step))

    def flush(self) -> None:
        """Write all rows logged since the last flush."""
        pending, self._pending = self._pending, []
        if pending:
            self.log_rows(pending)


class DeferredLogger:
    """Keeps the rows for a run's other loggers (W&B), of which a process can have only one run's at a time.

    They start when the run has ended, and are then given all rows by `replay`.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._rows: list[tuple[dict[str, float], int]] = []
        self._keep = keep

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep a row, unless the run has no other loggers."""
        assert step is not None
        if self._keep:
            self._rows.append((dict(metrics), step))

    def replay(self, loggers: Sequence[Logger]) -> None:
        """Log all rows with loggers that have started, metrics.csv's excepted."""
        for logger in loggers:
            if not isinstance(logger, MetricsFile):
                for metrics, step in self._rows:
                    logger.log_metrics(metrics, step)


class ReplicaLog:
    """Stand-ins for a replica's loggers: metrics.csv, and all others."""

    def __init__(self, directory: Path, *, has_others: bool = True) -> None:
        self.file, self.others = DeferredMetricsFile(directory), DeferredLogger(keep=has_others)
        self.loggers: list[MetricsLogger] = [self.file, self.others]

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a row with all loggers."""
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step)
