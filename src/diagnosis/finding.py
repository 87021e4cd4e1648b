"""One finding of a diagnosis: a question with its own answer, number, limit and place."""

from dataclasses import dataclass

NO, YES, NOT_TOLD, NOT_JUDGED = "no", "yes", "not told", "not judged"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One question about a net and its answer; the answer `yes` is bad.

    Attributes:
        name: What is asked, in a few words.
        answer: `yes`, `no`, `not told` (the error of the number reaches across the limit), or `not judged`.
        text: What was found and where, how large it is, and what it does to training.
        value: The number that was compared; None if there is none.
        limit: What it was compared with.
        error: Standard error of the number; 0 if it has none.
        place: Name of the layer or parameter where it was found.
        defect: Name of the defect that `yes` stands for, such as `dead`; empty for what concerns the net as a whole.
        todo: What to do about it.

    Example:
        >>> Finding(name="loss at the start", answer=NO, text="1.62, chance is 1.61", value=1.62, limit=8.0).bad
        False
    """

    name: str
    answer: str
    text: str
    value: float | None = None
    limit: float | None = None
    error: float = 0.0
    place: str = ""
    defect: str = ""
    todo: str = ""

    @property
    def bad(self) -> bool:
        """Whether the answer is `yes`."""
        return self.answer == YES


def compared(value: float, limit: float, error: float = 0.0) -> str:
    """Return whether a number exceeds a limit: `yes` or `no` by more than two standard errors, otherwise `not told`.

    Example:
        >>> compared(5, 3, 0.5), compared(1, 3), compared(3.5, 3, 0.5), compared(float("nan"), 3)
        ('yes', 'no', 'not told', 'yes')
    """
    if value + 2 * error <= limit:
        return NO
    return NOT_TOLD if value - 2 * error <= limit else YES  # also for a number that is not finite


def listed(names: tuple[str, ...] | list[str], most: int = 2) -> str:
    """Return the first names as text, and how many more there are.

    Example:
        >>> listed(("a", "b", "c", "d"))
        'a, b and 2 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
