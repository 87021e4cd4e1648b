"""Learning rate, batch size, weight decay and dropout all regularize: which of them to change, and in what order."""

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

# A larger rate makes training faster, smaller batches make it slower.
TO_ADD = (RATE, DECAY, DROPOUT, BATCH)
# Weight decay can be set finely and costs no time; a large rate, which makes training fast, is lowered last.
TO_TAKE = (DECAY, DROPOUT, BATCH, RATE)


@dataclass(frozen=True)
class Regularizers:
    """The settings of a run that regularize it; None where unknown. batch_size is that of all ranks together."""

    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Regularizers":
        """From a training config: optimizer.lr and weight_decay, datamodule.batch_size and model.dropout."""
        optimizer, data, model = ((config.get(group) or {}) for group in ("optimizer", "datamodule", "model"))
        return cls(optimizer.get("lr"), data.get("batch_size"), optimizer.get("weight_decay"), model.get("dropout"))

    def to_lower(self, *, but: str) -> list[str]:
        """What to change to regularize less, in order: neither `but`, nor a setting that is 0 already."""
        zero = [name for name, value in ((DECAY, self.weight_decay), (DROPOUT, self.dropout)) if value == 0]
        return [LESS[name] for name in TO_TAKE if name not in (but, *zero)]


@checked
def what_to_lower(raised: Annotated[str, OneOf(tuple(MORE))], settings: Regularizers | None = None) -> str:
    """A sentence: which settings to change, and in what order, when `raised` is to regularize more.

    Source: Smith 2018 (arXiv:1803.09820): all forms of regularization are to be balanced together, so that one has to
    fall when another rises. The order is this project's: first what costs no time, and the large rate last.

    Args:
        raised: learning rate, batch size (which regularizes more when it falls), weight decay or dropout.
        settings: Those of the run; a setting that is 0 is left out.

    Raises:
        ValueError: another name.

    Example:
        >>> what_to_lower("dropout")
        'more dropout regularizes more; in balance with it: less weight decay, then larger batches, then a smaller \
learning rate'
    """
    less = (settings or Regularizers()).to_lower(but=raised)
    return f"{MORE[raised]} regularizes more; in balance with it: {', then '.join(less)}"


def advise(verdict: str, settings: Regularizers | None = None, *, rate: float | None = None) -> str:
    """What to change after a verdict of `read_clues`, in a sentence; empty for a verdict without advice.

    Source: Smith 2018 (arXiv:1803.09820): underfitting asks for less regularization or longer training; overfitting
    for more regularization, also because a small rate regularizes little; instability at a large rate is not
    overfitting; large rates with little other regularization make training fast. The orders are this project's.

    Args:
        verdict: One of `clues.VERDICTS`.
        settings: Those of the run; a setting that is 0 is left out.
        rate: The learning rate at which an instability begins, if known.
    """
    take = ", then ".join((settings or Regularizers()).to_lower(but=RATE))
    add = ", then ".join(MORE[name] for name in TO_ADD)
    below = "" if rate is None else f", below {rate:.2g}"
    sentences = {
        UNDERFITTING: f"train longer or at a larger rate, if a range test admits it, or regularize less: {take}",
        OVERFITTING: f"regularize more: {add}; a range test tells how large the rate can be",
        INSTABILITY: f"this is not overfitting: a smaller rate{below}, or to keep the rate, in balance with it: {take}",
        PLATEAU: f"balanced, which is the goal; to come there sooner, a larger rate, and in balance with it: {take}",
        CANDIDATE: f"try one short cycle with such large rates, and in balance with them: {take}",
        NOT_LEARNING: (
            "the rate is far too small or too large, which a range test tells, or the net cannot start training, which "
            "the command diagnose tells"
        ),
    }
    return sentences.get(verdict, "")
