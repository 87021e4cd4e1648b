"""Compare groups of replicas with one run at a time on the device, as `benchmark.py replicas` with fewer rounds."""

import math
from functools import partial
from typing import Any

from benchmarks._mnist import data_overrides
from benchmarks._replica_jobs import TOGETHER, WAYS
from benchmarks.gpu_parts.parts import FINDING, Case
from benchmarks.replicas import INITIALIZERS, ReplicaSweep, measure

SWEEPS = (  # jobs of smaller nets take as long, but a larger part of their time is spent on the host
    (ReplicaSweep(10, 256, 100, job_stride=10, rounds=1), "lengths"),
    (ReplicaSweep(100, 1024, 20, job_stride=15, rounds=1), "lengths"),
    (ReplicaSweep(10, 256, 100, job_stride=10, rounds=1), "none"),
    (ReplicaSweep(20, 64, 100, job_stride=10, rounds=1, initializers=INITIALIZERS), "lengths"),
)
TINY = ReplicaSweep(3, 256, 5, replicas=2, job_stride=2, rounds=1)
TINY_DATA = ["datamodule=digits", "datamodule.validation=0"]


def cases(device: str, *, tiny: bool) -> list[Case]:
    return [
        Case(
            f"{sweep}, batch {sweep.batch}{'' if callbacks == 'none' else f', {callbacks}'}",
            partial(ratios, sweep, callbacks, device, tiny),
        )
        for sweep, callbacks in ([(TINY, "lengths")] if tiny else SWEEPS)
    ]


def ratios(sweep: ReplicaSweep, callbacks: str, device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    """Return the ratios of times one at a time to together, of jobs and steps, and the difference of the losses."""
    data, source = (TINY_DATA, "digits") if tiny else data_overrides()
    result = measure(sweep, callbacks, data, device)
    jobs, step = result["jobs"], result["step"]
    times = " → ".join(f"{jobs['seconds'][way]:.1f} s" for way in WAYS)
    words = f"jobs {jobs['ratio']:.2f} times as fast together ({times})"
    if math.isfinite(step["ratio"]):
        words += f", steps {step['ratio']:.1f} times ({step['milliseconds'][TOGETHER]:.3f} ms per replica)"
    return {**result, "data": source, FINDING: f"{words}; losses differ by {result['loss_apart']:.0e}"}
