"""The verdicts on the loss curves of a run, and what is stored of one; `clues` defines and gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

UNDERFITTING = "underfitting"
OVERFITTING = "overfitting"
MEMORIZED = "memorized"
REGULARIZED = "too much regularization"
PLATEAU = "plateau"
INSTABILITY = "instability"
CANDIDATE = "super-convergence candidate"
NOT_LEARNING = "not learning"
UNCLEAR = "cannot tell"
TOO_SHORT = "too short to tell"
NO_VALIDATION = "no validation data"
VERDICTS = (
    *(UNDERFITTING, OVERFITTING, MEMORIZED, REGULARIZED, PLATEAU, INSTABILITY, CANDIDATE, NOT_LEARNING, UNCLEAR),
    *(TOO_SHORT, NO_VALIDATION),
)


@dataclass(frozen=True)
class Clues:
    """The verdict on the loss curves of a run, with the measurements it is based on.

    Attributes:
        verdict: One of `VERDICTS`.
        text: The verdict with what it means, and its evidence, one sentence each.
        from_step: The step at which the rise or the plateau begins or, for a super-convergence candidate, the step of
            the largest usable learning rate; None for verdicts without such a step, and if losses jump without rising.
        rate: The learning rate at `from_step`, or None if it is unknown.
        numbers: The compared quantities by name. Losses are in nats; `rise`, `fall_at_end` and `noise` are differences
            of log(loss + floor) (see `LossTrends`), so that 0.1 is a change of the loss by about a tenth.
    """

    verdict: str
    text: str
    from_step: int | None = None
    rate: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
