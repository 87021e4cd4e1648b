"""A group of replicas against one run at a time on the device: the cases of `benchmark.py replicas`, fewer rounds."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks._replicas_cases import INITIALIZERS, Case, measure
from benchmarks._replicas_jobs import ALONE, TOGETHER, data_overrides
from benchmarks.gpu_parts.parts import FINDING, Measurement

CASES = (
    (Case(10, 256, 100, every=10, rounds=1), "lengths"),
    (Case(100, 1024, 20, every=15, rounds=1), "lengths"),
    (Case(10, 256, 100, every=10, rounds=1), "none"),
    (Case(20, 64, 100, every=10, rounds=1, initializers=INITIALIZERS), "lengths"),
)
TINY = Case(3, 256, 5, replicas=2, every=2, rounds=1)
TINY_DATA = ["datamodule=digits", "datamodule.validation=0"]


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """The smaller nets' jobs last as long, of which the host's share is larger."""
    cases = [(TINY, "lengths")] if tiny else CASES
    return [
        Measurement(_name(case, callbacks), partial(ratios, case, callbacks, device, tiny)) for case, callbacks in cases
    ]


def ratios(case: Case, callbacks: str, device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    """Whole jobs and their steps, one at a time over together; and how far the losses of the two lie apart."""
    data, source = (TINY_DATA, "digits") if tiny else data_overrides()
    result = measure(replace(case, memory=False), callbacks, data, device)
    jobs, step = result["jobs"], result["step"]
    alone, together = (jobs["seconds"][way] for way in (ALONE, TOGETHER))
    words = f"jobs {jobs['ratio']:.2f} times as fast ({alone:.1f} s, {together:.1f} s)"
    if math.isfinite(step["ratio"]):
        words += f", steps {step['ratio']:.1f} times ({step['milliseconds'][TOGETHER]:.3f} ms a replica)"
    return {**result, "data": source, FINDING: f"{words}; losses {result['loss_apart']:.0e} apart"}


def _name(case: Case, callbacks: str) -> str:
    return f"{case}, batch {case.batch}" + ("" if callbacks == "none" else f", {callbacks}")
