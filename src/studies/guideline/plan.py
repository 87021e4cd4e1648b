"""The settings of scripts/weight_decay.py, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from start_training.config.loggers import named_nodes
from start_training.order_chaos.slope import SHORTEST
from start_training.settings import fraction, list_of, number_from_zero, whole_number
from start_training.studies.search import seeds_of

Config = Mapping[str, Any]
PHASE = "start_training.callbacks.phase.Phase"


@dataclass(frozen=True)
class Plan:
    """What is measured, and what is trained: the keys of conf/weight_decay.yaml."""

    measure: int
    window: tuple[float, float] | None
    skip: float
    seeds: range
    train: bool
    epochs: int | None
    factors: Sequence[float]
    correct: bool
    speed: Sequence[float]

    @classmethod
    def of(cls, config: Config) -> "Plan":
        """Raises ValueError for a setting that cannot be used."""
        if (steps := config["trainer"].get("max_steps", -1)) != -1:
            raise ValueError(f"trainer.max_steps = {steps}: would cut runs short; they are counted in epochs")
        if not any(node.get("_target_") == PHASE for _, node in named_nodes(config, "callbacks")):
            there = ", ".join(config["callbacks"] or ()) or "none"
            raise ValueError(f"callbacks = {there}: must hold phase, as callbacks=phase has it")
        epochs, measure = config["epochs"], whole_number("measure", config["measure"], at_least=int(SHORTEST))
        factors = [number_from_zero("factors", factor) for factor in list_of("factors", config["factors"])]
        return cls(
            measure,
            window_of(config["window"], measure),
            fraction("skip", config["skip"]),
            seeds_of(config),
            truth("train", config["train"]),
            None if epochs is None else whole_number("epochs", epochs, at_least=int(SHORTEST)),
            sorted({1.0, *factors}),  # what it is all about
            truth("correct", config["correct"]),
            speeds(config["speed"]),
        )


def window_of(value: object, measure: int) -> tuple[float, float] | None:
    """[start, end] within the short run, in epochs. Raises ValueError for one that is none, or shorter than 3."""
    if value is None:
        return None
    values = list_of("window", value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    ends = [number_from_zero("window", end) for end in values]
    if len(ends) != 2 or ends[1] - ends[0] < SHORTEST:
        raise ValueError(f"window = {value}: must be [start, end], at least {SHORTEST:g} epochs apart")
    if ends[1] > measure:
        raise ValueError(f"window = {value}: must end within the {measure} epochs of `measure`")
    return ends[0], ends[1]


def speeds(value: object) -> list[float]:
    """Factors above 1, in order; none of null. Raises ValueError for others."""
    factors = [] if value is None or value == [] else list_of("speed", value)
    if any(number_from_zero("speed", factor) <= 1 for factor in factors):
        raise ValueError(f"speed = {value}: must be numbers above 1, by which to raise eta / ((1 − alpha) B)")
    return sorted({float(factor) for factor in factors})


def truth(name: str, value: object) -> bool:
    """Raises ValueError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: must be true or false")
    return value
