"""What start epochs go with, in numbers: rank correlation, and concordance that respects censoring."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from start_training.settings import one_of

Array = NDArray[np.float64]
RESAMPLES = 2000
ALMOST_ONE = 1 - 1e-12  # of which artanh is finite


@dataclass(frozen=True)
class ConfidenceInterval:
    """A value with its 95% confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "undefined"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


UNDEFINED = ConfidenceInterval(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class StartEpochs:
    """What is known of when n runs started.

    Args:
        epochs: Of the start, or where a run never started, the maximum at which it is censored, shape (n,).
        started: Whether it did, shape (n,).
        cells: Number of the configuration, which runs of different seeds share, shape (n,).
    """

    epochs: Array
    started: NDArray[np.bool_]
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, table: pd.DataFrame) -> "StartEpochs":
        """From a sweep's table with a known start in every row."""
        return cls(
            table["observed_epoch"].to_numpy(float),
            table["started"].to_numpy(bool),
            pd.factorize(table["configuration"])[0].astype(np.int64),
        )

    def resampled_cells(self, *, seed: int = 0) -> NDArray[np.int64]:
        """How often each cell is drawn, (RESAMPLES + 1, cells); the first row is the sample itself.

        Cells are what is drawn, with all their runs: a law over architectures and initializations is not confirmed
        anew by one more seed of the same net, and runs of one seed share batches and draws.
        """
        count = int(self.cells.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        return np.concatenate([np.ones((1, count), dtype=np.int64), drawn])


def rank_correlation(starts: StartEpochs, scores: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
    """Spearman's correlation of start epochs with scores (n,); runs that never started tie at their maximum.

    The interval is that of artanh of the correlation, shifted by the bias that the resamples show: cells drawn twice
    are ties, which lower a correlation near 1, and its plain quantiles would miss the truth every other time.
    """
    weights = starts.resampled_cells(seed=seed)[:, starts.cells].astype(float)
    x, y = (weights @ _agreement(values) for values in (scores, starts.epochs))  # midranks
    x, y = (ranks - (weights * ranks).sum(1, keepdims=True) / weights.sum(1, keepdims=True) for ranks in (x, y))
    covariance, *variances = ((weights * product).sum(1) for product in (x * y, x * x, y * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = covariance / np.sqrt(variances[0] * variances[1])
    if not np.isfinite(resampled[0]):
        return UNDEFINED
    value, *others = np.arctanh(np.clip(resampled[np.isfinite(resampled)], -ALMOST_ONE, ALMOST_ONE))
    center, width = 2 * value - np.mean(others), 1.96 * np.std(others)
    return ConfidenceInterval(float(resampled[0]), float(np.tanh(center - width)), float(np.tanh(center + width)))


@dataclass(frozen=True)
class Concordance:
    """Of the pairs of runs whose order is known, the share that a score orders alike; a tie in the score is half.

    The order of two runs is known where the earlier one started: Harrell's c (Harrell, Lee & Mark 1996, Statistics
    in Medicine 15, 361). 1/2 says nothing, 1 all. Pairs within a configuration are left out: nothing that its nets
    share can order them, and so a cell that is drawn twice does not meet itself either. Intervals: quantiles.
    """

    starts: StartEpochs

    def of(self, scores: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
        """The share for scores (n,), which are larger for a run that is to start later."""
        return self._share(_agreement(scores), seed=seed)

    def difference(self, scores: ArrayLike, others: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
        """By how much the concordance of `scores` exceeds that of `others`, over the same pairs and resamples."""
        return self._share(_agreement(scores) - _agreement(others), seed=seed)

    def where_they_differ(self, scores: ArrayLike, others: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
        """The concordance of `scores` over the pairs that `others` order differently, or not at all.

        That of `others` over these is 1 minus this, but for pairs that one of the two leaves tied.
        """
        agreement = _agreement(scores)
        return self._share(agreement, among=agreement != _agreement(others), seed=seed)

    def share_that_differs(self, scores: ArrayLike, others: ArrayLike) -> float:
        """The share of the pairs whose order is known that the two order differently."""
        known = self._known()
        return float((known * (_agreement(scores) != _agreement(others))).sum() / max(known.sum(), 1))

    def _known(self) -> Array:
        """[i, j]: 1 where run i is known to have started before run j, of another cell."""
        epochs, started, cells = self.starts.epochs, self.starts.started, self.starts.cells
        later = (epochs[:, None] < epochs) | ((epochs[:, None] == epochs) & ~started)
        return (later & started[:, None] & (cells[:, None] != cells)).astype(float)

    def _share(self, agreement: Array, *, among: ArrayLike = True, seed: int) -> ConfidenceInterval:
        """The mean agreement over known pairs, and its quantiles over resampled cells."""
        known = self._known() * np.asarray(among)
        cell = np.eye(int(self.starts.cells.max()) + 1)[self.starts.cells]
        part, whole = (cell.T @ pairs @ cell for pairs in (known * agreement, known))
        weights = self.starts.resampled_cells(seed=seed).astype(float)
        with np.errstate(invalid="ignore"):
            shares = ((weights @ part) * weights).sum(1) / ((weights @ whole) * weights).sum(1)
        others = shares[1:][np.isfinite(shares[1:])]
        if not np.isfinite(shares[0]) or not len(others):
            return UNDEFINED
        return ConfidenceInterval(float(shares[0]), *map(float, np.quantile(others, [0.025, 0.975])))


def growth_relation(table: pd.DataFrame) -> str:
    """Start epoch against depth × |log growth rate|: failure mode 1, figure 1b."""
    known = known_starts(table, "log_growth")
    starts, growth = StartEpochs.of(known), known["log_growth"]
    correlation, concordance = rank_correlation(starts, growth), Concordance(starts).of(growth)
    return (
        f"start epoch against depth × |log growth rate|: rank correlation {correlation}, concordance {concordance} "
        f"({_sample(starts)})"
    )


def beta_relation(table: pd.DataFrame) -> str:
    """How much better beta explains start epochs than depth does: failure mode 2, figure 3.

    Among nets of one constant width the two order alike, so that only pairs across families can distinguish them;
    the concordance over these pairs is in the sentence, too.
    """
    known = known_starts(table, "beta", "depth")
    starts, beta, depth = StartEpochs.of(known), known["beta"], known["depth"].astype(float)
    concordance = Concordance(starts)
    share, right = concordance.share_that_differs(beta, depth), concordance.where_they_differ(beta, depth)
    differing = (
        f"of the {share:.0%} of pairs that the two order differently, beta is right in {right}"
        if share
        else "the two order all pairs alike"
    )
    return (
        f"concordance of start epochs with beta {concordance.of(beta)}, with depth {concordance.of(depth)}, "
        f"difference {concordance.difference(beta, depth)}; {differing} ({_sample(starts)})"
    )


RELATIONS: dict[str, Callable[[pd.DataFrame], str]] = {"growth": growth_relation, "beta": beta_relation}


def relation_text(table: pd.DataFrame, relation: str) -> str:
    """A relation of `RELATIONS` in a sentence, or why it cannot be computed yet. Raises ValueError for any other."""
    compute = RELATIONS[one_of("relation", relation, RELATIONS)]
    try:
        return compute(table)
    except ValueError as error:
        return f"no relation yet: {error}"


def known_starts(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows with a known start and numbers in `columns`. Raises ValueError for fewer than three configurations."""
    known = table[table["started"].notna()]
    known = known[known[list(columns)].notna().all(axis=1)]
    if known["configuration"].nunique() < 3:
        raise ValueError(f"{' and '.join(columns)} known of fewer than three configurations that have ended")
    return known


def _sample(starts: StartEpochs) -> str:
    return (
        f"{len(starts.epochs)} runs, {int((~starts.started).sum())} of them never started; "
        f"95% over {int(starts.cells.max()) + 1} configurations"
    )


def _agreement(scores: ArrayLike) -> Array:
    """[i, j]: 1 where score i is below score j, 1/2 where they are equal."""
    scores = np.asarray(scores, dtype=float)
    return (scores[:, None] < scores) + 0.5 * (scores[:, None] == scores)
