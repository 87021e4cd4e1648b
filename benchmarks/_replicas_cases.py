"""The sweeps that jobs one at a time and jobs together are compared at: what each trains, and how the two are timed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks._interleaved import Array, median_of_rounds
from benchmarks._replicas_jobs import (
    ALONE,
    TOGETHER,
    TRAINERS,
    WAYS,
    Config,
    compose_jobs,
    nothing_old_collected,
    timed,
)
from benchmarks._replicas_memory import peak_mebibytes

INITIALIZERS = ("he_normal", "he_uniform", "he_truncated_normal", "lecun_normal", "glorot_normal", "torch_default")
SHORT = 5  # times shorter are the jobs that tell what is fixed
LOSS = "test/loss"


@dataclass(frozen=True)
class Case:
    """Jobs that train `size` layers of `size`: how many, for how long, and every how many-th of them one at a time."""

    size: int
    batch: int
    steps: int
    replicas: int = 30
    every: int = 3
    rounds: int = 3
    initializers: tuple[str, ...] = INITIALIZERS[:1]
    memory: bool = False

    def __str__(self) -> str:
        kinds = f"{len(self.initializers)} laws × " if len(self.initializers) > 1 else ""
        return f"{self.size} x {self.size}, {kinds}{self.replicas // len(self.initializers)} seeds"

    @property
    def goal(self) -> float:
        """The least ratio asked for."""
        if self.size > 20:
            return 0.95
        return 2.0 if self.batch <= 256 else 1.0

    @property
    def lengths(self) -> tuple[int, int]:
        """Steps of the long jobs and of the short ones."""
        return self.steps, max(self.steps // SHORT, 1)

    def configs(self, callbacks: str, data: Sequence[str], device: str) -> list[list[Config]]:
        """Of all jobs, the long and the short ones."""
        model = [f"model.depth={self.size}", f"model.width={self.size}", "optimizer.momentum=0"]
        rest = [TRAINERS[device], f"callbacks={callbacks}", "logger=csv", "trainer.enable_progress_bar=false"]
        common = [*data, f"datamodule.batch_size={self.batch}", *model, *rest]
        seeds = range(self.replicas // len(self.initializers))
        return [
            compose_jobs([*common, f"trainer.max_steps={steps}"], initializers=self.initializers, seeds=seeds)
            for steps in self.lengths
        ]


def measure(case: Case, callbacks: str, data: Sequence[str], device: str = "cpu") -> dict[str, Any]:
    """Times of the jobs both ways; see `summary`. `loss_apart`: |loss together / loss one at a time - 1|, at most."""
    jobs = case.configs(callbacks, data, device)
    for way in WAYS:
        timed(WAYS[way], jobs[1][: 1 if way == ALONE else None])
    with nothing_old_collected():
        rounds = [_round(case, jobs, backwards=index % 2 == 1) for index in range(case.rounds)]
    return {
        "case": str(case),
        "batch": case.batch,
        "callbacks": callbacks,
        "steps": case.steps,
        "rounds": case.rounds,
        "every": case.every,
        "loss_apart": max(apart for _, apart in rounds),
        **summary(np.array([times for times, _ in rounds]), case),
        "peak_mebibytes": _peaks(jobs[1], device) if case.memory else None,
    }


def _round(case: Case, jobs: Sequence[Sequence[Config]], *, backwards: bool) -> tuple[Array, float]:
    """Seconds of all jobs, (ways, lengths), and how far the ways' losses lie apart."""
    every = {ALONE: case.every, TOGETHER: 1}
    turns = [(length, way) for length in range(len(jobs)) for way in WAYS]
    seconds, losses = {}, {}
    for length, way in reversed(turns) if backwards else turns:
        configs = jobs[length][:: every[way]]
        taken, ends = timed(WAYS[way], configs)
        check_steps(ends, case.lengths[length])
        seconds[way, length] = taken * len(jobs[length]) / len(configs)
        losses[way, length] = np.array([end["metrics"][LOSS] for end in ends])
    pairs = [(losses[TOGETHER, length][:: case.every], losses[ALONE, length]) for length in range(len(jobs))]
    times = np.array([[seconds[way, length] for length in range(len(jobs))] for way in WAYS])
    return times, max(float(np.abs(together / alone - 1).max()) for together, alone in pairs)


def check_steps(ends: Sequence[dict[str, Any]], steps: int) -> None:
    """Raises RuntimeError for a job that took other steps than those that are counted."""
    for end in ends:
        if end["steps"] != steps:
            raise RuntimeError(f"{end['overrides']}: {end['steps']} steps, not {steps} ({end['reason']})")


def summary(times: Array, case: Case) -> dict[str, Any]:
    """Of seconds of all jobs, (rounds, ways, lengths): long jobs and short ones, one at a time and together.

    `jobs`: of long jobs, the ratio of the two ways' seconds, the median over rounds; `range` is theirs. `step`:
    likewise, of a replica's step, (long - short) / (replicas × the steps between). NaN where noise has made that
    negative. `fixed`: of a job, long / replicas - steps × step.
    """
    long, short = case.lengths
    steps = (times[..., 0] - times[..., 1]) / (case.replicas * (long - short))
    steps = np.where(steps > 0, steps, np.nan)
    fixed = times[..., 0] / case.replicas - long * steps
    ratio = _ratios(times[..., 0])
    return {
        "jobs": {**_by_way("seconds", times[..., 0]), **ratio},
        "step": {**_by_way("milliseconds", 1e3 * steps), **_ratios(steps)},
        "fixed": _by_way("seconds", fixed),
        "goal": case.goal,
        "met": ratio["ratio"] >= case.goal,
    }


def _by_way(unit: str, values: Array) -> dict[str, Any]:
    """The median over rounds, (rounds, ways), of each way."""
    return {unit: dict(zip(WAYS, np.median(values, axis=0).tolist(), strict=True))}


def _ratios(values: Array) -> dict[str, Any]:
    """How many times longer one at a time takes than together, of values (rounds, ways)."""
    ratio, *ends = median_of_rounds(values[:, 0] / values[:, 1])
    return {"ratio": ratio, "range": ends}


def _peaks(configs: Sequence[Config], device: str) -> dict[str, float | None]:
    threads = torch.get_num_threads()
    return {way: peak_mebibytes(way, configs, device=device, threads=threads) for way in WAYS}
