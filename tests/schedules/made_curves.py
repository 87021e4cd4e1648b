"""Curves made to be each case: of random shape, length and noise, with the case holding by a margin of two."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from src.schedules.clues import CANDIDATE, INSTABILITY, NOT_LEARNING, OVERFITTING, PLATEAU, UNDERFITTING

Array = NDArray[np.float64]
CHANCE = float(np.log(10))


def log_uniform(random: Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def decay(random: Generator, x: Array, quick: float, slow: float) -> Array:
    """From a first loss to a floor, in a time between these: exponential, or a power law that has then come as far."""
    floor, time = log_uniform(random, 0.05, 1.2), log_uniform(random, quick, slow)
    start = random.uniform(2.0, 3.0) * max(1.0, 1.5 * floor)
    return floor + (start - floor) * (np.exp(-x / time) if random.random() < 0.5 else (1 + x / time) ** -1.44)


def below(random: Generator, x: Array, validation: Array, until: float = 1.0) -> Array:
    """Training loss: below validation loss, and falling further `until` then."""
    return validation * (1 - random.uniform(0.0, 0.9) * np.minimum(x, until) ** random.uniform(0.3, 1.0))


def nats(losses: Array) -> Array:
    return np.log(losses + 0.05 * CHANCE)


def fall_of_last_third(losses: Array) -> float:
    return float(nats(losses)[-max(4, len(losses) // 3)] - nats(losses)[-1])


def rise_to_end(losses: Array) -> float:
    return float(nats(losses)[-max(2, len(losses) // 6)] - nats(losses).min())


# Of each case a noise-free run over its share x, in (0, 1], that is over: whether the case holds, training and
# validation loss, and where there are any, rates and the epoch in which it diverged.


def underfitting(random: Generator, x: Array) -> tuple[Any, ...]:
    validation = decay(random, x, 0.2, 3.0)
    return fall_of_last_third(validation) > 0.2, below(random, x, validation), validation


def plateau(random: Generator, x: Array) -> tuple[Any, ...]:
    """Some with a hump that large rates in the middle of a cycle add, gone before the last third."""
    hump = np.exp(random.choice([0.0, 0.5]) * np.exp(-(((x - 0.4) / 0.08) ** 2)))
    validation = decay(random, x, 0.005, 0.2)
    return fall_of_last_third(validation * hump) < 0.05, below(random, x, validation) * hump, validation * hump


def overfitting(random: Generator, x: Array) -> tuple[Any, ...]:
    validation, turn = decay(random, x, 0.01, 0.1), random.uniform(0.15, 0.6)
    rise = log_uniform(random, 0.25, 2.0) * np.maximum((x - turn) / (1 - turn), 0) ** random.uniform(0.5, 1.5)
    risen = validation * np.exp(rise)
    return rise_to_end(risen) > 0.2, below(random, x, validation), risen


def instability(random: Generator, x: Array) -> tuple[Any, ...]:
    """A sudden rise of both, at a fixed rate or in a ramp that is too short for tenfold rates; some runs diverge."""
    validation, begins = decay(random, x, 0.02, 0.15), random.uniform(0.4, 0.8)
    jump = random.uniform(0.6, 3.0) * np.clip((x - begins) / random.uniform(0.01, 0.2), 0, 1)
    training = below(random, x, validation, until=begins) * np.exp(jump * random.uniform(0.8, 1.2))
    risen = validation * np.exp(jump)
    rates = 10 ** (random.uniform(0.5, 0.8) * x) if random.random() < 0.5 else np.ones(len(x))
    finite = int(len(x) * min(begins + 0.15, 1)) if random.random() < 0.3 else None
    return min(rise_to_end(training), rise_to_end(risen)) > 0.2, training, risen, rates, finite


def not_learning(random: Generator, x: Array) -> tuple[Any, ...]:
    level = np.full(len(x), CHANCE * random.uniform(1.0, 1.3))
    return True, level, level


def candidate(random: Generator, x: Array) -> tuple[Any, ...]:
    """A ramp over four decades whose loss is down in the first, and unstable, if at all, in the last half decade."""
    validation = decay(random, x, 0.01, 0.05)
    jump = np.exp(random.choice([0.0, 2.0]) * np.clip((x - 0.88) / 0.04, 0, 1))
    return True, below(random, x, validation) * jump, validation * jump, 10 ** (4 * x - 3)


CASES: dict[str, Callable[[Generator, Array], tuple[Any, ...]]] = {
    UNDERFITTING: underfitting,
    OVERFITTING: overfitting,
    PLATEAU: plateau,
    INSTABILITY: instability,
    CANDIDATE: candidate,
    NOT_LEARNING: not_learning,
}


def curve(case: str, random: Generator, *, points: int, noise: float) -> dict[str, Any]:
    """What `read_clues` is given, with multiplicative noise of this deviation in nats on every loss."""
    holds = False
    while not holds:
        holds, *losses, rates, finite = (*CASES[case](random, np.arange(1, points + 1) / points), None, None)[:5]
    train, val = (each * np.exp(noise * random.normal(size=points)) for each in losses)
    train[finite if finite is not None else points :] = np.inf
    known = CHANCE if case in (NOT_LEARNING, CANDIDATE) or random.random() < 0.5 else None
    steps = random.integers(1, 500) * np.arange(1, points + 1) - 1.0
    return {"steps": steps, "train_loss": train, "val_loss": val, "rates": rates, "chance": known}
