"""The settings of a run that regularize it, and which of them are large enough to hold a net back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DECOUPLED = ("AdamW", "Prodigy", "ScheduleFree")  # in names of optimizers that apply weight decay beside the gradient
LARGE_DECAY = 0.02  # weight decay in the gradient from which it is large: ten times what is common
LARGE_DECOUPLED = 1.0  # the same for decoupled weight decay
LARGE_DROPOUT = 0.5
SHARE = 40  # below its large value by this factor, a weight decay hardly regularizes


@dataclass(frozen=True)
class Regularizers:
    """The settings of a run that regularize it; None if unknown. `batch_size` is the sum over all ranks.

    `decoupled`: whether the optimizer applies weight decay beside the gradient, as AdamW does.
    """

    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    decoupled: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Regularizers":
        """Read `optimizer.lr`, `datamodule.batch_size`, `optimizer.weight_decay` and `model.dropout` from a config."""
        optimizer, data, model = ((config.get(group) or {}) for group in ("optimizer", "datamodule", "model"))
        target = str(optimizer.get("_target_", ""))
        return cls(
            optimizer.get("lr"),
            data.get("batch_size"),
            optimizer.get("weight_decay"),
            model.get("dropout"),
            any(name in target for name in DECOUPLED),
        )

    @property
    def has_large_decay(self) -> bool:
        """Whether weight decay is large enough to hold a net back."""
        return (self.weight_decay or 0.0) >= (LARGE_DECOUPLED if self.decoupled else LARGE_DECAY)

    @property
    def has_large_dropout(self) -> bool:
        """Whether dropout is large enough to hold a net back."""
        return (self.dropout or 0.0) >= LARGE_DROPOUT

    @property
    def hardly_any(self) -> bool:
        """Whether weight decay and dropout are known and so small that they hardly regularize."""
        if self.weight_decay is None:
            return False
        small = (LARGE_DECOUPLED if self.decoupled else LARGE_DECAY) / SHARE
        return self.weight_decay <= small and (self.dropout or 0.0) < 0.1

    @property
    def large(self) -> str:
        """The settings that are large enough to hold a net back, in words, such as `weight decay 0.1`; "": none is."""
        decay = f"weight decay {self.weight_decay:g}" if self.has_large_decay else ""
        dropout = f"dropout {self.dropout:g}" if self.has_large_dropout else ""
        return " and ".join(filter(None, (decay, dropout)))
