"""Relation of start epochs to properties of the net: rank correlation, and concordance for censored data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from start_training.settings import one_of

Array = NDArray[np.float64]
RESAMPLES = 2000
ALMOST_ONE = 1 - 1e-12  # the largest correlation used, so that artanh stays finite


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
    """Start epochs of n runs, some of them censored.

    Args:
        epochs: Epoch at which training started; for a run that never started, the number of epochs after which it is
            censored. Shape (n,).
        started: Whether training started, shape (n,).
        cells: Number of the configuration, which is the same for runs that differ only in the seed, shape (n,).
    """

    epochs: Array
    started: NDArray[np.bool_]
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, table: pd.DataFrame) -> "StartEpochs":
        """Build from the result of `sweep_table`, restricted to rows with a known start (`known_starts`)."""
        return cls(
            table["observed_epoch"].to_numpy(float),
            table["started"].to_numpy(bool),
            pd.factorize(table["configuration"])[0].astype(np.int64),
        )

    def resampled_cells(self, *, seed: int = 0) -> NDArray[np.int64]:
        """Draw bootstrap resamples of the cells; a cell is all runs of one configuration.

        Cells are resampled together with all their runs. Runs of one configuration are not independent evidence for a
        relation over architectures and initializations.

        Returns:
            The number of times each cell is drawn, shape (RESAMPLES + 1, cells); the first row is all ones, which is
            the sample itself.
        """
        count = int(self.cells.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        return np.concatenate([np.ones((1, count), dtype=np.int64), drawn])


def rank_correlation(starts: StartEpochs, scores: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
    """Compute Spearman's rank correlation of start epochs with scores.

    Runs that never started are ranked by the epoch at which they are censored. The interval is a normal interval for
    artanh of the correlation with bootstrap standard deviation, corrected for the bootstrap bias: cells that are drawn
    twice produce ties, which lower a correlation near 1, so that plain quantiles would miss the true value too often.

    Args:
        starts: Start epochs of n runs.
        scores: A property of each run, shape (n,).
        seed: Seed of the bootstrap.

    Returns:
        The correlation with its 95% interval; NaN if the scores or the start epochs do not vary.
    """
    weights = starts.resampled_cells(seed=seed)[:, starts.cells].astype(float)
    x, y = (weights @ _agreement(values) for values in (scores, starts.epochs))  # ranks, averaged over ties
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
    """Concordance (Harrell's c): the share of pairs of runs that a score puts in the order of their start epochs.

    Only pairs whose order is known count: the earlier run must have started. A tie in the score counts 1/2. A value of
    1/2 means no relation, 1 a perfect one. Pairs within a configuration are left out, since a property of the
    configuration cannot order them. The 95% intervals are quantiles over bootstrap resamples of the configurations.
    Source: Harrell, Lee & Mark 1996, Statistics in Medicine 15, 361.

    Args:
        starts: Start epochs of n runs.
    """

    starts: StartEpochs

    def of(self, scores: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
        """Compute the concordance of start epochs with scores.

        Args:
            scores: Shape (n,); larger for runs that are expected to start later.
            seed: Seed of the bootstrap.
        """
        return self._share(_agreement(scores), seed=seed)

    def difference(self, scores: ArrayLike, others: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
        """Compute the concordance of `scores` minus that of `others`, over the same pairs and resamples."""
        return self._share(_agreement(scores) - _agreement(others), seed=seed)

    def where_they_differ(self, scores: ArrayLike, others: ArrayLike, *, seed: int = 0) -> ConfidenceInterval:
        """Compute the concordance of `scores` over the pairs that `scores` and `others` order differently.

        Pairs that are tied in only one of the two count as ordered differently. Apart from these, the concordance of
        `others` over the same pairs is 1 minus the result.
        """
        agreement = _agreement(scores)
        return self._share(agreement, among=agreement != _agreement(others), seed=seed)

    def share_that_differs(self, scores: ArrayLike, others: ArrayLike) -> float:
        """Return the share of pairs, among those of known order, that `scores` and `others` order differently."""
        known = self._known()
        return float((known * (_agreement(scores) != _agreement(others))).sum() / max(known.sum(), 1))

    def _known(self) -> Array:
        """Return a matrix whose element [i, j] is 1 if run i is known to have started before run j of another cell."""
        epochs, started, cells = self.starts.epochs, self.starts.started, self.starts.cells
        later = (epochs[:, None] < epochs) | ((epochs[:, None] == epochs) & ~started)
        return (later & started[:, None] & (cells[:, None] != cells)).astype(float)

    def _share(self, agreement: Array, *, among: ArrayLike = True, seed: int) -> ConfidenceInterval:
        """Average `agreement` over the known pairs in `among`, with quantiles over resampled cells."""
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
    """Describe in a sentence how start epochs in a `sweep_table` relate to depth × |log growth rate|.

    This is failure mode 1, figure 1b of Hanin & Rolnick 2018 (arXiv:1803.01719).

    Raises:
        ValueError: fewer than three configurations have a known start and growth rate.
    """
    known = known_starts(table, "log_growth")
    starts, growth = StartEpochs.of(known), known["log_growth"]
    correlation, concordance = rank_correlation(starts, growth), Concordance(starts).of(growth)
    return (
        f"start epoch against depth × |log growth rate|: rank correlation {correlation}, concordance {concordance} "
        f"({_sample(starts)})"
    )


def beta_relation(table: pd.DataFrame) -> str:
    """Describe in a sentence how much better beta explains the start epochs in a `sweep_table` than depth does.

    This is failure mode 2, figure 3 of Hanin & Rolnick 2018 (arXiv:1803.01719). Among nets of one constant width, beta
    and depth give the same order. Only pairs across families of widths can distinguish them, so the sentence also
    gives the concordance over the pairs that the two order differently.

    Raises:
        ValueError: fewer than three configurations have a known start, beta and depth.
    """
    known = known_starts(table, "beta", "depth")
    starts, beta, depth = StartEpochs.of(known), known["beta"], known["depth"].astype(float)
    concordance = Concordance(starts)
    share, right = concordance.share_that_differs(beta, depth), concordance.where_they_differ(beta, depth)
    differing = (
        f"of the {share:.0%} of pairs that beta and depth order differently, beta orders a share of {right} correctly"
        if share
        else "beta and depth order all pairs in the same way"
    )
    return (
        f"concordance of start epochs with beta {concordance.of(beta)}, with depth {concordance.of(depth)}, "
        f"difference {concordance.difference(beta, depth)}; {differing} ({_sample(starts)})"
    )


RELATIONS: dict[str, Callable[[pd.DataFrame], str]] = {"growth": growth_relation, "beta": beta_relation}


def relation_text(table: pd.DataFrame, relation: str) -> str:
    """Describe a relation of start epochs in a sentence, or say why it cannot be computed yet.

    Args:
        table: Result of `sweep_table`.
        relation: A key of `RELATIONS`.

    Raises:
        ValueError: there is no such relation.
    """
    compute = RELATIONS[one_of("relation", relation, RELATIONS)]
    try:
        return compute(table)
    except ValueError as error:
        return f"the relation with start epochs cannot be computed yet: {error}"


def known_starts(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Select the runs for which it is known whether training started, and which have numbers in `columns`.

    Raises:
        ValueError: these runs belong to fewer than three configurations.
    """
    known = table[table["started"].notna()]
    known = known[known[list(columns)].notna().all(axis=1)]
    if known["configuration"].nunique() < 3:
        names = " and ".join(columns)
        raise ValueError(f"no rank correlation: fewer than three configurations have a start of training and {names}")
    return known


def _sample(starts: StartEpochs) -> str:
    return (
        f"{len(starts.epochs)} runs, {int((~starts.started).sum())} of them never started; "
        f"95% intervals over {int(starts.cells.max()) + 1} configurations"
    )


def _agreement(scores: ArrayLike) -> Array:
    """Return a matrix whose element [i, j] is 1 if score i is below score j, and 1/2 if they are equal."""
    scores = np.asarray(scores, dtype=float)
    return (scores[:, None] < scores) + 0.5 * (scores[:, None] == scores)
