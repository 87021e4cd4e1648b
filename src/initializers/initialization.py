"""What an initialization has drawn, and what it has left as it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHOWN = 12  # lines of each list that the text of an initialization shows
EMBEDDING = "embedding"  # a reason
LIMIT = 0.01  # share of the weights that multiply, of which more may not be left without a warning


@dataclass(frozen=True)
class DrawnWeight:
    """A weight that an initializer has drawn.

    Attributes:
        name: The name of the weight: that of its layer, or of a part of it such as `attention.in_proj_weight.query`.
        kappa: fan_in · Var W of the weights with which the layer computes; Var is over all entries of its matrices.
        law: The initializer that was asked for.
        asked_kappa: kappa of that initializer; None if it is a function, whose law is unknown.
        as_asked: Whether the layer computes with the values that were drawn.
        entries: Number of weights.
        note: What else is to be known, such as why the layer does not have the law that was asked for.
    """

    name: str
    kappa: float
    law: str
    asked_kappa: float | None
    as_asked: bool
    entries: int
    note: str = ""

    def __str__(self) -> str:
        asked = "" if self.asked_kappa is None else f" (kappa {self.asked_kappa:.3g})"
        law = f"{self.law}{asked}" if self.as_asked else f"not the asked law, {self.law}{asked}"
        return f"{self.name}: kappa {self.kappa:.3g}, {law}" + bool(self.note) * f"; {self.note}"


@dataclass(frozen=True)
class LeftParameter:
    """A parameter, or a part of it, that an initialization has left as it was.

    Attributes:
        name: The name of the weight or of the parameter.
        reason: Why it was left.
        entries: Number of its entries.
        exempt: Whether it was left on purpose: frozen, skipped, zero, or loaded.
        multiplies: Whether it seems to be a weight that multiplies the inputs of its module.
    """

    name: str
    reason: str
    entries: int
    exempt: bool = False
    multiplies: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Initialization:
    """What `initialize_` has drawn and what it has left; `print` it for a report.

    Attributes:
        drawn: The weights that were drawn, in the order of drawing.
        left: The parameters that were not.
        readout: The names of the readout's weights.
        fixed: What `fix_` did to the net after that, as plain data.

    Example:
        >>> print(Initialization((), (LeftParameter("0.weight", "embedding", 40),)))
        drew 0 weights, left 1
          left 0.weight: embedding
    """

    drawn: tuple[DrawnWeight, ...]
    left: tuple[LeftParameter, ...]
    readout: tuple[str, ...] = ()
    fixed: Mapping[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether all weights that multiply were drawn, with the law that was asked for."""
        return all(drawn.as_asked for drawn in self.drawn) and not any(left.multiplies for left in self.left)

    @property
    def only_readout(self) -> bool:
        """Whether at most the readout was drawn, and other weights or embeddings were left, not on purpose."""
        return all(drawn.name in self.readout for drawn in self.drawn) and any(
            not left.exempt and (left.multiplies or left.reason == EMBEDDING) for left in self.left
        )

    def loaded(self, path: object) -> "Initialization":
        """Return the initialization of this net after all its weights were loaded from a file."""
        entries = sum(drawn.entries for drawn in self.drawn) + sum(left.entries for left in self.left)
        return Initialization((), (LeftParameter("*", f"loaded from {path}", entries, exempt=True),))

    def summary(self) -> Mapping[str, Any]:
        """Return plain data for the summary of a run: {} if everything was drawn as asked."""
        if self.fixed is not None:
            return {"initialization": dict(self.fixed)}
        other = {drawn.name: str(drawn).partition(": ")[2] for drawn in self.drawn if not drawn.as_asked}
        found = {"left": {left.name: left.reason for left in self.left}, "not_as_asked": other}
        found = {key: values for key, values in found.items() if values}
        return {"initialization": found} if found else {}

    def __str__(self) -> str:
        lines = [f"drew {len(self.drawn)} weights, left {len(self.left)}"]
        for word, items in (("drew", self.drawn), ("left", self.left)):
            lines += [f"  {word} {item}" for item in items[:SHOWN]]
            lines += [f"  {word} {len(items) - SHOWN} more"] * (len(items) > SHOWN)
        return "\n".join(lines)
