"""Synthetic loss curves of each verdict, with random shape and noise, that exceed its thresholds by a factor of two."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from start_training.schedules.clue_verdicts import (
    CANDIDATE,
    INSTABILITY,
    NOT_LEARNING,
    OVERFITTING,
    PLATEAU,
    UNDERFITTING,
)

Array = NDArray[np.float64]
Random = np.random.Generator
CHANCE = float(np.log(10))
CASES = (UNDERFITTING, OVERFITTING, PLATEAU, INSTABILITY, CANDIDATE, NOT_LEARNING)


class Curve(NamedTuple):
    """The arguments of `Curves.of`."""

    steps: Array
    train_loss: Array
    val_loss: Array
    rates: Array | None
    chance: float | None


def curve(case: str, random: Random, *, points: int, noise: float) -> Curve:
    """Return a random curve of the case; `noise` is the standard deviation, in nats, of multiplicative noise."""
    while (made := _made(case, random, np.arange(1, points + 1) / points)) is None:
        pass  # the curve of the drawn parameters does not belong to the case: draw others
    train, val, rates, finite = made
    val, train = (losses * np.exp(noise * random.normal(size=points)) for losses in (val, train))
    train[finite:] = np.inf
    known = CHANCE if case in (NOT_LEARNING, CANDIDATE) or random.random() < 0.5 else None
    return Curve(random.integers(1, 500) * np.arange(1, points + 1) - 1.0, train, val, rates, known)


def _made(case: str, random: Random, x: Array) -> tuple[Array, Array, Array | None, int] | None:
    """Return noise-free training and validation losses, learning rates and the number of points before divergence.

    `x` is the position of each point as a fraction of the run. None is returned if the curve of the drawn parameters
    does not belong to the case.
    """

    def uniform(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))  # log-uniform

    floor, n, rates, finite = uniform(0.05, 1.2), len(x), None, len(x)
    start = random.uniform(2.0, 3.0) * max(1.0, 1.5 * floor)
    times = {UNDERFITTING: (0.2, 3.0), OVERFITTING: (0.01, 0.1), PLATEAU: (0.005, 0.2), INSTABILITY: (0.02, 0.15)}
    time = uniform(*times.get(case, (0.01, 0.05)))
    shape = np.exp(-x / time) if random.random() < 0.5 else (1 + x / time) ** -1.44  # exponential, or a power law
    val, begins = floor + (start - floor) * shape, 1.0
    rise = both = np.zeros(n)  # in nats, of validation alone and of both losses
    if case == OVERFITTING:
        turn = random.uniform(0.15, 0.6)
        rise = uniform(0.25, 2.0) * np.maximum((x - turn) / (1 - turn), 0) ** random.uniform(0.5, 1.5)
    elif case == PLATEAU:  # large rates in the middle of a cycle, gone before the last third
        both = random.choice([0.0, 0.5]) * np.exp(-(((x - 0.4) / 0.08) ** 2))
    elif case == INSTABILITY:  # sudden, at a fixed rate or in a ramp too short for tenfold rates; some runs diverge
        begins = random.uniform(0.4, 0.8)
        both = random.uniform(0.6, 3.0) * np.clip((x - begins) / random.uniform(0.01, 0.2), 0, 1)
        rates = 10 ** (random.uniform(0.5, 0.8) * x) if random.random() < 0.5 else np.ones(n)
        finite = int(n * min(begins + 0.15, 1)) if random.random() < 0.3 else n
    elif case == CANDIDATE:  # over four decades: down in the first, and unstable, if at all, in the last half of one
        both, rates = random.choice([0.0, 2.0]) * np.clip((x - 0.88) / 0.04, 0, 1), 10 ** (4 * x - 3)
    elif case == NOT_LEARNING:
        level = np.full(n, CHANCE * random.uniform(1.0, 1.3))
        return level, level, None, n
    train = val * (1 - random.uniform(0.0, 0.9) * np.minimum(x, begins) ** random.uniform(0.3, 1.0))  # falls further
    losses = np.stack([train * np.exp(both), val * np.exp(rise + both)])
    read, smooth = np.log(losses + 0.05 * CHANCE), np.log(val + 0.05 * CHANCE)  # above the floor, as they are read
    risen = read[:, -max(2, n // 6)] - read.min(1)
    fallen = smooth[-max(4, n // 3)] - smooth[-1]  # over the last third
    holds = {UNDERFITTING: fallen > 0.2, PLATEAU: fallen < 0.05, OVERFITTING: risen[1] > 0.2}
    if not (risen.min() > 0.2 if case == INSTABILITY else holds.get(case, True)):
        return None
    return losses[0], losses[1], rates, finite
