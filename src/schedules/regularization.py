"""Rate, batch size, weight decay and dropout all regularize: which to change, and which gives way, in what order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from start_training.schedules.clues import CANDIDATE, INSTABILITY, NOT_LEARNING, OVERFITTING, PLATEAU, UNDERFITTING
from start_training.settings import one_of

RATE = "learning rate"
BATCH = "batch size"
DECAY = "weight decay"
DROPOUT = "dropout"
MORE = {RATE: "a larger learning rate", BATCH: "smaller batches", DECAY: "more weight decay", DROPOUT: "more dropout"}
LESS = {RATE: "a smaller learning rate", BATCH: "larger batches", DECAY: "less weight decay", DROPOUT: "less dropout"}

# A larger rate makes training faster, smaller batches make it slower.
TO_ADD = (RATE, DECAY, DROPOUT, BATCH)
# Weight decay is turned finely and at no cost; the large rate, which makes training fast, gives way last.
TO_TAKE = (DECAY, DROPOUT, BATCH, RATE)


@dataclass(frozen=True)
class Regularizers:
    """What a run is regularized by; None is not known. batch_size is over all ranks together."""

    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Regularizers":
        """Those of a training config: optimizer.lr and weight_decay, datamodule.batch_size and model.dropout."""
        optimizer, data, model = ((config.get(group) or {}) for group in ("optimizer", "datamodule", "model"))
        return cls(optimizer.get("lr"), data.get("batch_size"), optimizer.get("weight_decay"), model.get("dropout"))

    def to_take(self, *, but: str) -> list[str]:
        """What regularizes less, in order: not by the one that is left as it is, nor by one that is 0 already."""
        absent = [name for name, value in ((DECAY, self.weight_decay), (DROPOUT, self.dropout)) if value == 0]
        return [LESS[name] for name in TO_TAKE if name not in (but, *absent)]


def what_to_lower(raised: str, settings: Regularizers | None = None) -> str:
    """A sentence: what is to give way, and in which order, where `raised` regularizes more than before.

    raised: learning rate, batch size (which regularizes more where it falls), weight decay or dropout. What is 0 in
    `settings` cannot give way, and is left out.
    Source: Smith 2018 (arXiv:1803.09820): all forms of regularization are to be balanced together, so that one has to
    fall where another is raised. The order is this project's: what costs no time first, the large rate last.
    Raises ValueError for another name.
    """
    give_way = (settings or Regularizers()).to_take(but=one_of("raised", raised, tuple(MORE)))
    return f"{MORE[raised]} regularizes more; in balance with it: {', then '.join(give_way)}"


def advise(verdict: str, settings: Regularizers | None = None, *, rate: float | None = None) -> str:
    """What to change after a verdict of `read_clues`, in a sentence; empty where the verdict tells too little.

    rate: the one at which the clues say that something sets in. What is 0 in `settings` is left out.
    Source: Smith 2018 (arXiv:1803.09820): underfitting asks for less regularization or longer training, overfitting
    for more, of which a rate that is too small has too little; instability at a large rate is not overfitting; large
    rates with little other regularization are what makes training fast. The orders are this project's.
    """
    settings = settings or Regularizers()
    take = ", then ".join(settings.to_take(but=RATE))
    add = ", then ".join(MORE[name] for name in TO_ADD)
    below = "" if rate is None else f", below {rate:.2g}"
    said = {
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
    return said.get(verdict, "")
