"""The merit of a task: which metrics count when runs are compared, and how they are printed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Merit:
    """Which metrics of a task count, and how; used by range tests, the start of training, searches and summaries.

    - The range test follows `combined`, which is larger the better the net is.
    - The start of training is when the test `score` reaches a threshold.
    - Searches, recipes and sweepers compare the metric `monitor` at the end of runs, in the direction of `mode`.
    - Summaries and tables state the loss and the score, if the task has one; an accuracy in percent (`text_of`).

    Args:
        score: Name of the metric that is larger the better the net is, logged as val/NAME and test/NAME, such as
            `accuracy`; "": the task has none.
        likelihood: Whether exp(−loss) is a mean probability of the targets, on the scale of the score.
        monitor: The metric by which runs are compared.
        mode: Whether `monitor` is better if smaller ("min") or larger ("max").
    """

    score: str = "accuracy"
    likelihood: bool = True
    monitor: str = "val/loss"
    mode: Literal["min", "max"] = "min"

    def combined(self, loss: ArrayLike, score: ArrayLike) -> NDArray[np.float64]:
        """Compute the merit that a range test follows: score + exp(−loss) if `likelihood`, else the score alone.

        exp(−loss) of the mean cross-entropy is the geometric mean of the probabilities of the true classes.

        Args:
            loss: Mean losses, shape (n,); one that is not finite counts as infinite.
            score: Scores, shape (n,).
        Returns:
            Shape (n,).
        Example:
            >>> Merit().combined([0.0, np.inf], [1.0, 0.1])
            array([2. , 0.1])
        """
        losses = np.asarray(loss, dtype=np.float64)
        scores = np.asarray(score, dtype=np.float64)
        return scores + np.exp(-np.where(np.isfinite(losses), losses, np.inf)) if self.likelihood else scores

    def column(self, stage: str) -> str:
        """Return the name of the score in tables of range tests, such as `val_accuracy`."""
        return f"{stage}_{self.score}"

    def metric(self, stage: str) -> str:
        """Return the name under which the score is logged, such as `test/accuracy`."""
        return f"{stage}/{self.score}"

    def monitoring(self, monitor: str, mode: str | None) -> "Merit":
        """Return this merit with another metric by which runs are compared.

        Args:
            monitor: Name of the metric.
            mode: "min" or "max"; None: "max" for the score, else "min".
        """
        if mode is None:
            mode = "max" if self.score and monitor.endswith(f"/{self.score}") else "min"
        return replace(self, monitor=monitor, mode=cast(Literal["min", "max"], mode))

    def is_better(self, value: float, other: float) -> bool:
        """Return whether one value of `monitor` is better than another; NaN is never better."""
        return value < other if self.mode == "min" else value > other

    @property
    def worst(self) -> float:
        """The value of `monitor` that stands for a run that has diverged."""
        return np.inf if self.mode == "min" else -np.inf


ACCURACY = Merit()
_LABELS = {"r2": "R²"}


def label_of(score: str) -> str:
    """Return the name of a score in words.

    Example:
        >>> label_of("accuracy"), label_of("r2"), label_of("mean_iou")
        ('accuracy', 'R²', 'mean iou')
    """
    return _LABELS.get(score, score.replace("_", " "))


def text_of(score: str, value: float, digits: int = 1) -> str:
    """Return a score as text: an accuracy in percent, other scores as numbers.

    Example:
        >>> text_of("accuracy", 0.875), text_of("r2", 0.875)
        ('87.5%', '0.875')
    """
    return f"{value:.{digits}%}" if score == "accuracy" else f"{value:.{digits + 2}f}"


def objective(metrics: Mapping[str, Any], status: str, merit: Merit) -> float | None:
    """Return the number that sweepers minimize or maximize: the last value of `merit.monitor`.

    Args:
        metrics: The newest value of each metric of a run.
        status: How the run has ended; one that has diverged has the worst value.
        merit: Names the metric.
    Returns:
        The value; None if the run has not logged the metric.
    """
    if status == "diverged":
        return merit.worst
    value = metrics.get(merit.monitor)
    return None if value is None else float(value)
