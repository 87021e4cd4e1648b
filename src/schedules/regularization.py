"""Advice on regularization: which of learning rate, batch size, weight decay and dropout to change, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from start_training.schedules.clues import CANDIDATE, INSTABILITY, NOT_LEARNING, OVERFITTING, PLATEAU, UNDERFITTING
from start_training.settings import OneOf, checked

RATE = "learning rate"
BATCH = "batch size"
DECAY = "weight decay"
DROPOUT = "dropout"
MORE = {RATE: "a larger learning rate", BATCH: "smaller batches", DECAY: "more weight decay", DROPOUT: "more dropout"}
LESS = {RATE: "a smaller learning rate", BATCH: "larger batches", DECAY: "less weight decay", DROPOUT: "less dropout"}

# The order in which to increase regularization: a larger rate makes training faster, smaller batches make it slower.
TO_INCREASE = (RATE, DECAY, DROPOUT, BATCH)
# The order in which to decrease it: weight decay can be set finely and costs no time, while a large rate, which makes
# training fast, is lowered last.
TO_DECREASE = (DECAY, DROPOUT, BATCH, RATE)


@dataclass(frozen=True)
class Regularizers:
    """The settings of a run that regularize it; None if unknown. `batch_size` is the sum over all ranks."""

    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Regularizers":
        """Read `optimizer.lr`, `datamodule.batch_size`, `optimizer.weight_decay` and `model.dropout` from a config."""
        optimizer, data, model = ((config.get(group) or {}) for group in ("optimizer", "datamodule", "model"))
        return cls(optimizer.get("lr"), data.get("batch_size"), optimizer.get("weight_decay"), model.get("dropout"))

    def to_lower(self, *, but: str) -> list[str]:
        """Return the changes that regularize less, in order, without the setting `but` and settings that are 0."""
        zero = [name for name, value in ((DECAY, self.weight_decay), (DROPOUT, self.dropout)) if value == 0]
        return [LESS[name] for name in TO_DECREASE if name not in (but, *zero)]


@checked
def what_to_lower(raised: Annotated[str, OneOf(tuple(MORE))], settings: Regularizers | None = None) -> str:
    """Return a sentence on how to compensate for one setting that regularizes more than before.

    Source: Smith 2018 (arXiv:1803.09820): all forms of regularization have to be balanced, so that one has to decrease
    when another increases. The order is this project's: first settings that cost no time, and the large learning rate
    last.

    Args:
        raised: The setting that regularizes more: `learning rate`, `batch size` (smaller batches), `weight decay` or
            `dropout`.
        settings: The settings of the run; weight decay or dropout of 0 is left out of the sentence.

    Raises:
        ValueError: `raised` is another name.

    Example:
        >>> what_to_lower("dropout")
        'more dropout regularizes more; to compensate, try less weight decay, then larger batches, then a smaller \
learning rate'
    """
    less = (settings or Regularizers()).to_lower(but=raised)
    return f"{MORE[raised]} regularizes more; to compensate, try {', then '.join(less)}"


def advise(verdict: str, settings: Regularizers | None = None, *, rate: float | None = None) -> str:
    """Return a sentence on what to change after a verdict of `read_clues`; empty for a verdict without advice.

    Source: Smith 2018 (arXiv:1803.09820): underfitting requires less regularization or longer training; overfitting
    requires more regularization, for example a larger learning rate; instability at a large rate is not overfitting;
    large rates with little other regularization make training fast. The orders of changes are this project's.

    Args:
        verdict: One of `clues.VERDICTS`.
        settings: The settings of the run; weight decay or dropout of 0 is left out of the sentence.
        rate: Learning rate at which an instability begins, if known.
    """
    less = ", then ".join((settings or Regularizers()).to_lower(but=RATE))
    more = ", then ".join(MORE[name] for name in TO_INCREASE)
    below = "" if rate is None else f", below {rate:.2g}"
    sentences = {
        UNDERFITTING: (
            f"train longer, or use a larger learning rate if a range test allows it, or regularize less: {less}"
        ),
        OVERFITTING: f"regularize more: {more}; run a range test to see how large the learning rate can be",
        INSTABILITY: (
            f"this is not overfitting: use a smaller learning rate{below}, or keep the rate and regularize less: {less}"
        ),
        PLATEAU: (
            "the run is neither under- nor overfitting, which is the goal; to reach the plateau in fewer steps, use a "
            f"larger learning rate and regularize less: {less}"
        ),
        CANDIDATE: f"try one short cycle with learning rates as large as these, and regularize less: {less}",
        NOT_LEARNING: (
            "the learning rate is far too small or far too large (run a range test), or the net cannot start training "
            "(run the command diagnose)"
        ),
    }
    return sentences.get(verdict, "")
