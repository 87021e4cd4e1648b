"""Try the cases of a campaign in parallel, print new failures immediately, and count all outcomes."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

SHOWN = 3  # number of last lines of the output of a case that are printed


@dataclass(frozen=True)
class Verdict(ABC):
    """The outcome of a case: one of the names in `GOOD` of its class, or the kind of failure."""

    case: Any
    name: str
    output: str = ""
    GOOD: ClassVar[tuple[str, ...]] = ()

    @property
    def good(self) -> bool:
        return self.name in self.GOOD

    @property
    @abstractmethod
    def known(self) -> str:
        """Reason of a known failure; empty for a new one."""


def try_all(cases: Iterable[Any], attempt: Callable[[Any], Verdict], *, workers: int, minutes: float) -> list[Verdict]:
    """Try as many cases as can be begun within a number of minutes, print new failures, and return the verdicts."""
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
    """Print the numbers of cases (described by `what`) and of failures; return 1 if there is a new failure, else 0."""
    new = sum(not verdict.good and not verdict.known for verdict in verdicts)
    known = sum(not verdict.good and bool(verdict.known) for verdict in verdicts)
    print(f"{len(verdicts)} {what}, {known} known failures, {new} new")
    return int(bool(new))
