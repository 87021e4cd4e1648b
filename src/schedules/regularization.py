"""Advice on regularization: which of learning rate, batch size, weight decay and dropout to change, in which order."""

from typing import Annotated

from start_training.schedules.clue_verdicts import (
    CANDIDATE,
    INSTABILITY,
    MEMORIZED,
    NOT_LEARNING,
    OVERFITTING,
    PLATEAU,
    REGULARIZED,
    UNCLEAR,
    UNDERFITTING,
)
from start_training.schedules.regularizers import LARGE_DECAY, LARGE_DECOUPLED, Regularizers
from start_training.settings import OneOf, checked

RATE = "learning rate"
BATCH = "batch size"
DECAY = "weight decay"
DROPOUT = "dropout"
MORE = {RATE: "a larger learning rate", BATCH: "smaller batches", DECAY: "more weight decay", DROPOUT: "more dropout"}
LESS = {RATE: "a smaller learning rate", BATCH: "larger batches", DECAY: "less weight decay", DROPOUT: "less dropout"}

# The order in which to decrease regularization: weight decay can be set finely and costs no time, while a large rate,
# which makes training fast, is lowered last.
TO_DECREASE = (DECAY, DROPOUT, BATCH, RATE)


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
    known = settings or Regularizers()
    zero = [name for name, value in ((DECAY, known.weight_decay), (DROPOUT, known.dropout)) if value == 0]
    less = [LESS[name] for name in TO_DECREASE if name not in (raised, *zero)]
    return f"{MORE[raised]} regularizes more; to compensate, try {', then '.join(less)}"


def advise(
    verdict: str, settings: Regularizers | None = None, *, rate: float | None = None, falls: bool = False
) -> str:
    """Return a sentence on what to try first after a verdict of `read_clues`; empty for a verdict without advice.

    Source: Smith 2018 (arXiv:1803.09820): underfitting requires less regularization or longer training; overfitting
    requires more regularization; instability at a large rate is not overfitting; large rates with little other
    regularization make training fast. Which setting comes first, and by how much, is this project's.

    Args:
        verdict: One of `clue_verdicts.VERDICTS`.
        settings: The settings of the run.
        rate: Learning rate at which an instability begins, if known.
        falls: Whether the learning rate was small at the end of the run, so that a schedule which falls is no advice.

    Example:
        >>> advise("memorized", Regularizers(weight_decay=0.0))
        'Try first: weight decay 0.001 instead of 0; after that, more data or dropout.'
    """
    settings = settings or Regularizers()
    sentences = {
        UNDERFITTING: f"twice as many epochs{_larger_rate(settings)}",
        OVERFITTING: f"{_more_decay(settings)}; after that, more data or dropout",
        MEMORIZED: f"{_more_decay(settings)}; after that, more data or dropout",
        REGULARIZED: _less_regularization(settings),
        INSTABILITY: _smaller_rate(settings, rate),
        UNCLEAR: "validation on more samples"
        + ("" if falls else ", or a learning rate that falls to 0 at the end (schedule=cosine)"),
        PLATEAU: "nothing, or to get here in fewer steps a larger learning rate with less weight decay",
        CANDIDATE: "half as many epochs with the same schedule, since training is fast at such rates"
        if falls
        else "one short cycle up to the largest of these learning rates (schedule=one_cycle)",
        NOT_LEARNING: (
            "a range test, as the learning rate is far too small or far too large; if it finds no rate, the net may be "
            "unable to start (command diagnose)"
        ),
    }
    return f"Try first: {sentences[verdict]}." if verdict in sentences else ""


def _more_decay(settings: Regularizers) -> str:
    now = settings.weight_decay
    if now is None:
        return "more weight decay"
    first, most = (0.1, LARGE_DECOUPLED) if settings.decoupled else (1e-3, LARGE_DECAY / 2)
    if now >= most:
        return f"dropout {'0.2' if not settings.dropout else f'of more than {settings.dropout:g}'}"
    return f"weight decay {min(max(3 * now, first), most):.1g} instead of {now:g}"


def _less_regularization(settings: Regularizers) -> str:
    if settings.has_large_decay:
        return f"weight decay {(settings.weight_decay or 0) / 10:.1g} instead of {settings.weight_decay or 0:g}"
    if settings.has_large_dropout:
        return f"dropout {(settings.dropout or 0) / 3:.1g} instead of {settings.dropout:g}"
    return "less weight decay or dropout"


def _larger_rate(settings: Regularizers) -> str:
    rate = settings.learning_rate
    return f", or a learning rate of {3 * rate:.2g} instead of {rate:g}" if rate else ", or a larger learning rate"


def _smaller_rate(settings: Regularizers, rate: float | None) -> str:
    now = settings.learning_rate
    smaller = f"a learning rate of {now / 3:.2g} instead of {now:g}" if now else "a smaller learning rate"
    return smaller + ("" if rate is None else f", below the {rate:.2g} at which it began")
