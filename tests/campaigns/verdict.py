"""The cases of a campaign: several are tried at a time, new failures are printed at once, all are counted."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

SHOWN = 3  # last lines of a case's output


@dataclass(frozen=True)
class Verdict:
    """The outcome of a case: one of the `GOOD` names of its class, else what is wrong."""

    case: Any
    name: str
    output: str = ""
    GOOD: ClassVar[tuple[str, ...]] = ()

    @property
    def good(self) -> bool:
        return self.name in self.GOOD

    @property
    def known(self) -> str:
        """The reason of a known failure; empty for a new one."""
        raise NotImplementedError


def try_all(cases: Iterable[Any], attempt: Callable[[Any], Verdict], *, workers: int, minutes: float) -> list[Verdict]:
    """The verdicts of as many cases as can be begun in so many minutes; new failures are printed."""
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
    """Print the number of cases, called `what`, and of failures; returns 1 if one of them is new."""
    new = sum(not verdict.good and not verdict.known for verdict in verdicts)
    known = sum(not verdict.good and bool(verdict.known) for verdict in verdicts)
    print(f"{len(verdicts)} {what}, {known} known failures, {new} new")
    return int(bool(new))
