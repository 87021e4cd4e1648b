"""The cases of a campaign: tried side by side, those that go wrong told of as they come, all counted at the end."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

SHOWN = 3  # last lines of what a case printed


@dataclass(frozen=True)
class Verdict:
    """What came of a case: one of its kind's `GOOD` names, else what is wrong."""

    case: Any
    name: str
    output: str = ""
    GOOD: ClassVar[tuple[str, ...]] = ()

    @property
    def good(self) -> bool:
        return self.name in self.GOOD

    @property
    def known(self) -> str:
        """Why it is known to be so; empty where it is not."""
        raise NotImplementedError


def try_all(cases: Iterable[Any], attempt: Callable[[Any], Verdict], *, workers: int, minutes: float) -> list[Verdict]:
    """The verdicts of as many cases as can be begun in so many minutes; what is new and wrong is printed."""
    end, verdicts = time.monotonic() + 60 * minutes, []
    with ThreadPoolExecutor(workers) as pool:
        tried = pool.map(lambda case: attempt(case) if time.monotonic() < end else None, cases)
        for verdict in filter(None, tried):
            verdicts.append(verdict)
            if not verdict.good and not verdict.known:
                last = [line for line in verdict.output.splitlines() if line.strip()][-SHOWN:]
                print(f"{verdict.name}: {verdict.case}", *(f"    {line[:200]}" for line in last), sep="\n", flush=True)
    return verdicts


def exit_status(verdicts: Sequence[Verdict], what: str) -> int:
    """Print how many there are of `what`, and return 1 where something is wrong that is not known."""
    new = sum(not verdict.good and not verdict.known for verdict in verdicts)
    known = sum(not verdict.good and bool(verdict.known) for verdict in verdicts)
    print(f"{len(verdicts)} {what}, {known} known failures, {new} new")
    return int(bool(new))
