"""Curves made to be each case: of random shape, length and noise, with the case holding by a margin of two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.schedules.clues import CANDIDATE, INSTABILITY, NOT_LEARNING, OVERFITTING, PLATEAU, UNDERFITTING

Array = NDArray[np.float64]
CHANCE = float(np.log(10))


@dataclass
class Made:
    """A noise-free run of n epochs: losses as functions of its share, in (0, 1], that is over."""

    training: Array
    validation: Array
    rates: Array | None = None
    finite: int | None = None  # epochs before it diverged


@dataclass
class Shape:
    """The random parameters that all cases share."""

    random: np.random.Generator
    points: int

    def __post_init__(self) -> None:
        self.x = np.arange(1, self.points + 1) / self.points
        self.floor = self.log_uniform(0.05, 1.2)
        self.start = self.random.uniform(2.0, 3.0) * max(1.0, 1.5 * self.floor)

    def log_uniform(self, low: float, high: float) -> float:
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def decay(self, time: float) -> Array:
        """From the first loss to the floor: exponential, or a power law that has come as far after `time`."""
        exponential, power = np.exp(-self.x / time), (1 + self.x / time) ** -1.44
        return self.floor + (self.start - self.floor) * (exponential if self.random.random() < 0.5 else power)

    def training(self, validation: Array, until: float = 1.0) -> Array:
        """Below validation loss, and falling further `until` then."""
        gap = self.random.uniform(0.0, 0.9)
        return validation * (1 - gap * np.minimum(self.x, until) ** self.random.uniform(0.3, 1.0))


def fall_of_last_third(losses: Array) -> float:
    nats = np.log(losses + 0.05 * CHANCE)
    return float(nats[-max(4, len(losses) // 3)] - nats[-1])


def rise_to_end(losses: Array) -> float:
    nats = np.log(losses + 0.05 * CHANCE)
    return float(nats[-max(2, len(losses) // 6)] - nats.min())


def underfitting(shape: Shape) -> Made | None:
    validation = shape.decay(shape.log_uniform(0.2, 3.0))
    return Made(shape.training(validation), validation) if fall_of_last_third(validation) > 0.2 else None


def plateau(shape: Shape) -> Made | None:
    """Some with a hump that large rates in the middle of a cycle add, gone before the last third."""
    validation = shape.decay(shape.log_uniform(0.005, 0.2))
    hump = np.exp(shape.random.choice([0.0, 0.5]) * np.exp(-(((shape.x - 0.4) / 0.08) ** 2)))
    made = Made(shape.training(validation) * hump, validation * hump)
    return made if fall_of_last_third(validation) < 0.05 else None


def overfitting(shape: Shape) -> Made | None:
    validation = shape.decay(shape.log_uniform(0.01, 0.1))
    turn = shape.random.uniform(0.15, 0.6)
    rise = shape.log_uniform(0.25, 2.0) * np.maximum((shape.x - turn) / (1 - turn), 0) ** shape.random.uniform(0.5, 1.5)
    made = Made(shape.training(validation), validation * np.exp(rise))
    return made if rise_to_end(made.validation) > 0.2 else None


def instability(shape: Shape) -> Made | None:
    """A sudden rise of both, at a fixed rate or in a ramp that is too short for tenfold rates; some runs diverge."""
    validation = shape.decay(shape.log_uniform(0.02, 0.15))
    begins = shape.random.uniform(0.4, 0.8)
    height = shape.random.uniform(0.6, 3.0)
    jump = height * np.clip((shape.x - begins) / shape.random.uniform(0.01, 0.2), 0, 1)
    training = shape.training(validation, until=begins) * np.exp(jump * shape.random.uniform(0.8, 1.2))
    rates = 10 ** (shape.random.uniform(0.5, 0.8) * shape.x) if shape.random.random() < 0.5 else np.ones(shape.points)
    finite = int(shape.points * min(begins + 0.15, 1)) if shape.random.random() < 0.3 else None
    made = Made(training, validation * np.exp(jump), rates, finite)
    return made if min(rise_to_end(made.training), rise_to_end(made.validation)) > 0.2 else None


def not_learning(shape: Shape) -> Made:
    level = np.full(shape.points, CHANCE * shape.random.uniform(1.0, 1.3))
    return Made(level.copy(), level)


def candidate(shape: Shape) -> Made:
    """A ramp over four decades whose loss is down in the first, and unstable, if at all, in the last half decade."""
    validation = shape.decay(shape.log_uniform(0.01, 0.05))
    jump = shape.random.choice([0.0, 2.0]) * np.clip((shape.x - 0.88) / 0.04, 0, 1)
    rates = 10 ** (4 * shape.x - 3)
    return Made(shape.training(validation) * np.exp(jump), validation * np.exp(jump), rates)


CASES: dict[str, Callable[[Shape], Made | None]] = {  # None: of these parameters the case would not hold
    UNDERFITTING: underfitting,
    OVERFITTING: overfitting,
    PLATEAU: plateau,
    INSTABILITY: instability,
    CANDIDATE: candidate,
    NOT_LEARNING: not_learning,
}


def curve(case: str, random: np.random.Generator, *, points: int, noise: float) -> dict[str, Any]:
    """What `read_clues` is given, with multiplicative noise of this deviation in nats on every loss."""
    made = None
    while made is None:
        made = CASES[case](Shape(random, points))
    val, train = (losses * np.exp(noise * random.normal(size=points)) for losses in (made.validation, made.training))
    if made.finite is not None:
        train[made.finite :] = np.inf
    known = CHANCE if case in (NOT_LEARNING, CANDIDATE) or random.random() < 0.5 else None
    steps = random.integers(1, 500) * np.arange(1, points + 1) - 1.0
    return {"steps": steps, "train_loss": train, "val_loss": val, "rates": made.rates, "chance": known}
