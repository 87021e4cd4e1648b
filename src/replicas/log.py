"""Logging of a replica's metrics, which are kept in memory until they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from start_training.runs.metrics_file import MetricsFile, MetricsLogger


class DeferredMetricsFile(MetricsFile):
    """The file metrics.csv of a replica; rows are kept in memory until `flush`."""

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
    """Keeps metrics for loggers such as W&B until the run has ended, as a process can have only one W&B run at a time.

    Args:
        keep: Whether the run has such loggers; if not, metrics are discarded.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._rows: list[tuple[dict[str, float], int]] = []
        self._keep = keep

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Store a row of metrics for `replay`."""
        assert step is not None
        if self._keep:
            self._rows.append((dict(metrics), step))

    def replay(self, loggers: Sequence[Logger]) -> None:
        """Log all stored rows with the given loggers, except with that of metrics.csv."""
        for logger in loggers:
            if not isinstance(logger, MetricsFile):
                for metrics, step in self._rows:
                    logger.log_metrics(metrics, step)


class ReplicaLog:
    """The loggers of a replica: one for metrics.csv, and one that stores metrics for all other loggers.

    Args:
        directory: The run's directory.
        has_others: Whether the run has loggers besides metrics.csv.
    """

    def __init__(self, directory: Path, *, has_others: bool = True) -> None:
        self.file, self.others = DeferredMetricsFile(directory), DeferredLogger(keep=has_others)
        self.loggers: list[MetricsLogger] = [self.file, self.others]

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a row of metrics with both loggers."""
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step)
