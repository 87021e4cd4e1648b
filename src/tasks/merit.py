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
        """Compute the merit that a range test follows: score + exp(−loss) if `likelihood`, else the fall of the loss.

        exp(−loss) of the mean cross-entropy is the geometric mean of the probabilities of the true classes. Without
        it, or if no score is known, the merit is that of the loss alone: its `fall` from the first loss.

        Args:
            loss: Mean losses, shape (n,); one that is not finite counts as infinite.
            score: Scores, shape (n,); NaN if the loss has none.
        Returns:
            Shape (n,).
        Example:
            >>> Merit().combined([0.0, np.inf], [1.0, 0.1])
            array([2. , 0.1])
        """
        losses = np.asarray(loss, dtype=np.float64)
        losses = np.where(np.isfinite(losses), losses, np.inf)
        scores = np.asarray(score, dtype=np.float64)
        return scores + np.exp(-losses) if self.likelihood and not np.isnan(scores).all() else fall(losses)

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


def fall(losses: ArrayLike) -> NDArray[np.float64]:
    """Compute how far losses have fallen from the first one, independently of the unit of the loss.

    That is log(first / loss) if all losses are positive, else (first − loss) / (first − smallest loss).

    Args:
        losses: Shape (n,); the first is finite, others may be infinite.
    Returns:
        Shape (n,): 0 for the first, larger the better, −∞ for an infinite loss.
    Example:
        >>> fall([4.0, 2.0, 1.0, np.inf]).round(3), fall([1.0, -3.0, 0.0])
        (array([0.   , 0.693, 1.386,  -inf]), array([0.  , 1.  , 0.25]))
    """
    values = np.asarray(losses, dtype=np.float64)
    if (values > 0).all():
        return np.log(values[0]) - np.log(values)
    return (values[0] - values) / max(float(values[0] - values.min()), float(np.finfo(np.float64).tiny))


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
