"""What a replica has for its loggers, kept until there is time to write it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from start_training.runs.metrics_file import MetricsFile


class Rows:
    """Metrics, each at a step: what loggers are given, where they would be now."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Note a row."""
        assert step is not None
        self.rows.append((dict(metrics), step))


class Log:
    """`flush` brings rows to metrics.csv. Of other loggers, of which a process has but one at a time (W&B), each run
    has its own when it has ended, and is then given all rows by `replay`. others: what metrics.csv is not to have."""

    def __init__(self, directory: Path, *, replayed: bool = True) -> None:
        self.others = Rows()
        self._file, self._pending = MetricsFile(directory), Rows()
        self._replayed = replayed  # else nobody will ask for the rows

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Note a row for all loggers."""
        self._pending.log_metrics(metrics, step)
        self.others.log_metrics(metrics, step)

    def flush(self) -> None:
        """Write metrics.csv."""
        rows, self._pending.rows = self._pending.rows, []
        if rows:
            self._file.log_rows(rows)
        if not self._replayed:
            self.others.rows.clear()

    def replay(self, loggers: Sequence[Logger]) -> None:
        """Give all rows to loggers that have begun."""
        for logger in loggers:
            if not isinstance(logger, MetricsFile):
                for metrics, step in self.others.rows:
                    logger.log_metrics(metrics, step)
