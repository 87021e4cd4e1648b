"""The settings of a phase diagram, checked: from the plain data of its config to what the simulation is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from start_training.config.composed import SIZES
from start_training.config.devices import check_accelerator
from start_training.order_chaos.bins import Bins
from start_training.order_chaos.random_layer import ACTIVATIONS
from start_training.settings import list_of, one_of, positive_integer, whole_number
from start_training.settings import seed as checked_seed

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class FiniteSize:
    """A scan of 1/J at J0 = 0 for each N."""

    N: tuple[int, ...]
    matrices: int
    iterations: int
    inverse_J: Bins

    @classmethod
    def of(cls, config: Mapping[str, Any], average: int) -> "FiniteSize":
        """Raises ValueError as `Settings.of`."""
        keys = ("N", "matrices", "iterations", "inverse_J")
        if not isinstance(config, Mapping) or any(key not in config for key in keys):
            raise ValueError(f"finite_size = {config!r}: must be null, or have {', '.join(keys)}")
        return cls(
            N=tuple(sorted({_units("finite_size.N", N) for N in list_of("finite_size.N", config["N"])})),
            matrices=positive_integer("finite_size.matrices", config["matrices"]),
            iterations=whole_number("finite_size.iterations", config["iterations"], at_least=average),
            inverse_J=Bins.of("finite_size.inverse_J", config["inverse_J"], at_least=0.0),
        )


@dataclass(frozen=True)
class Settings:
    """columns: of J0/J; rows: of 1/J. average: of the last iterations."""

    seed: int
    activations: tuple[str, ...]
    N: int
    matrices: int
    iterations: int
    average: int
    columns: Bins
    rows: Bins
    finite_size: FiniteSize | None
    device: str

    @property
    def points(self) -> int:
        return self.columns.bins * self.rows.bins

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """From the config of a job. Raises ValueError, naming the setting, for one that cannot be used."""
        one_of("size", config["size"], SIZES)  # for who overrides all that it sizes
        average = positive_integer("average", config["average"])
        sizes, device = config["finite_size"], one_of("device", config["device"], DEVICES)
        if device == "cuda":
            check_accelerator("device", device)
        return cls(
            seed=checked_seed("seed", config["seed"]),
            activations=tuple(_activations(config["activations"])),
            N=_units("N", config["N"]),
            matrices=positive_integer("matrices", config["matrices"]),
            iterations=whole_number("iterations", config["iterations"], at_least=average),
            average=average,
            columns=Bins.of("J0_over_J", config["J0_over_J"]),
            rows=Bins.of("inverse_J", config["inverse_J"], at_least=0.0),
            finite_size=FiniteSize.of(sizes, average) if sizes is not None else None,
            device=device,
        )


def _activations(value: object) -> list[str]:
    return list(dict.fromkeys(one_of("activations", name, ACTIVATIONS) for name in list_of("activations", value)))


def _units(name: str, value: object) -> int:
    """Two at least: one has no deviation from its mean."""
    return whole_number(name, value, at_least=2)
