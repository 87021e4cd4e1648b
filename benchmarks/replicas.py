"""Measure how much faster the jobs of a multirun train together, as replicas in one program, than one at a time.

Whole jobs of scripts/train.py are timed, with logger=csv and no progress bar, SGD at 0.01 without momentum, no
validation, and MNIST if DATA_DIR has it, otherwise random inputs of its shape. A sweep has 30 seeds, each with its
weights and order of batches, or 6 initializers × 5 seeds, as in figure 1b; larger nets have 6 seeds. Both methods train
the same jobs in new directories, in alternating order, after a short run of each that is not timed. One at a time, only
every third job is trained (of larger nets every second), and the time is multiplied accordingly. A job with another
number of steps is an error.

  jobs   from the start of the first job to the summary of the last, including test of 10,000 images and figures
  step   a step of one replica, without the fixed costs of a job: from the difference to jobs of a fifth of the steps

Ratios are times one at a time divided by times together, medians over rounds with their ranges; goals refer to whole
jobs. With --figure-1b, all jobs of the full-size figure 1b are timed together instead; the time one at a time is
extrapolated from a sample, and the rate of arithmetic is compared with that of products of large matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks._figure_1b import figure_1b, sentences
from benchmarks._harness import Columns, Session, benchmark, goal_cell, results_table
from benchmarks._measuring import Array, in_turns, peak_mebibytes, ratio_and_range
from benchmarks._mnist import data_overrides
from benchmarks._replica_jobs import (
    ONE_BY_ONE,
    TOGETHER,
    TRAINERS,
    WAYS,
    Config,
    changed,
    compose_each,
    existing_objects_not_collected,
    timed,
    train_one_by_one,
)

QUICK_FIGURE = ("size=small", "trainer.max_epochs=1", "hydra.sweeper.params.seed='0,1'")
INITIALIZERS = ("he_normal", "he_uniform", "he_truncated_normal", "lecun_normal", "glorot_normal", "torch_default")
SHORT = 5  # short jobs, for the computation of fixed costs, have a fifth of the steps
LOSS = "test/loss"
SWEEP_COLUMNS = {"net, jobs": "{case}", "callbacks": "{callbacks}", "batch": "{batch}"}
JOB_COLUMNS: Columns = {
    **SWEEP_COLUMNS,
    "steps": "{steps}",
    **{way: f"{{jobs[seconds][{way}]:.1f}}" for way in WAYS},
    "ratio (range)": "{jobs[ratio]:.2f} ({jobs[range][0]:.2f}–{jobs[range][1]:.2f})",
    "goal": goal_cell("≥ {goal:g}"),
}
STEP_COLUMNS = {
    **SWEEP_COLUMNS,
    **{way: f"{{step[milliseconds][{way}]:.3f}}" for way in WAYS},
    "ratio (range)": "{step[ratio]:.2f} ({step[range][0]:.2f}–{step[range][1]:.2f})",
    "fixed costs of a job, s": " / ".join(f"{{fixed[seconds][{way}]:.2f}}" for way in WAYS),
}
LEAST = {"model": {"depth": 1, "width": 1}, "datamodule": {"batch_size": 1}, "trainer": {"max_steps": 1}}


@dataclass(frozen=True)
class ReplicaSweep:
    """A sweep of jobs that train fully connected nets with `size` layers of `size` units.

    Attributes:
        size: Number of layers, and their width.
        batch: Batch size.
        steps: Number of optimizer steps of a job.
        replicas: Number of jobs.
        job_stride: n, if only each n-th job is trained when jobs are trained one at a time.
        rounds: Number of rounds.
        initializers: Names of the initializers.
        memory: Whether to measure the peak memory.
    """

    size: int
    batch: int
    steps: int
    replicas: int = 30
    job_stride: int = 3
    rounds: int = 3
    initializers: tuple[str, ...] = INITIALIZERS[:1]
    memory: bool = False

    def __str__(self) -> str:
        kinds = f"{len(self.initializers)} initializers × " if len(self.initializers) > 1 else ""
        return f"{self.size} x {self.size}, {kinds}{self.replicas // len(self.initializers)} seeds"

    @property
    def goal(self) -> float:
        """Smallest ratio of times that meets the goal."""
        if self.size > 20:
            return 0.95
        return 2.0 if self.batch <= 256 else 1.0

    @property
    def lengths(self) -> tuple[int, int]:
        """Numbers of steps of the long and of the short jobs."""
        return self.steps, max(self.steps // SHORT, 1)

    def configs(self, callbacks: str, data: Sequence[str], device: str) -> list[list[Config]]:
        """Return the configs of all long jobs and of all short jobs; the seed varies fastest."""
        model = [f"model.depth={self.size}", f"model.width={self.size}", "optimizer.momentum=0"]
        rest = [TRAINERS[device], f"callbacks={callbacks}", "logger=csv", "trainer.enable_progress_bar=false"]
        composed = compose_each([*data, f"datamodule.batch_size={self.batch}", *model, *rest], self.initializers)
        seeds = range(self.replicas // len(self.initializers))
        return [
            [changed(config, {"trainer.max_steps": steps, "seed": seed}) for config in composed for seed in seeds]
            for steps in self.lengths
        ]


@benchmark(
    quick="measure one small net with few steps, in less than a minute",
    width=120,
    figure_1b={"action": "store_true", "help": "measure the jobs of figure 1b (with --quick: of size=small)"},
)
def main(session: Session) -> None:
    """Time the sweeps, or figure 1b, and print the results."""
    quick, device = session.options.quick, session.device
    if session.options.figure_1b:
        overrides = QUICK_FIGURE if quick else ()
        session.print(*sentences(session.measure("figure 1b", figure_1b, overrides, device, key="figure_1b")))
        return
    data, session.results["data"] = data_overrides()
    results = [
        session.measure(f"{jobs}, batch {jobs.batch}, callbacks={callbacks}", measure, jobs, callbacks, data, device)
        for jobs in sweeps(quick=quick)
        for callbacks in ("none", "lengths")
    ]
    title = f"seconds of all jobs of a case, {session.results['data']}"
    session.print(results_table(title, JOB_COLUMNS, results, words=2))
    session.print(results_table("milliseconds of a replica's step", STEP_COLUMNS, results, words=2))
    session.print(*remarks(results))


def sweeps(*, quick: bool = False) -> list[ReplicaSweep]:
    """Return the sweeps that the project has goals for; those of larger nets have fewer replicas and steps."""
    if quick:
        return [ReplicaSweep(10, 64, 150, job_stride=6, rounds=2)]
    small = [ReplicaSweep(10, 64, 300), ReplicaSweep(10, 256, 300), ReplicaSweep(10, 1024, 150, memory=True)]
    small += [ReplicaSweep(20, 64, 200), ReplicaSweep(20, 256, 200), ReplicaSweep(20, 1024, 100)]
    small += [ReplicaSweep(10, batch, steps, initializers=INITIALIZERS) for batch, steps in ((256, 300), (1024, 150))]
    large = [ReplicaSweep(60, 256, 40, 6, 2), ReplicaSweep(60, 1024, 30, 6, 2), ReplicaSweep(100, 256, 20, 6, 2)]
    return [*small, *large, ReplicaSweep(100, 1024, 15, 6, 2, memory=True)]


def measure(sweep: ReplicaSweep, callbacks: str, data: Sequence[str], device: str = "cpu") -> dict[str, Any]:
    """Time the jobs of a sweep one at a time and together.

    Args:
        sweep: The jobs.
        callbacks: Option of the config group `callbacks`.
        data: Overrides of the data, from `data_overrides`.
        device: `cpu` or `cuda`.
    Returns:
        The results of `summary`, the peak memory, and `loss_apart`, the maximum over jobs of
        |loss together / loss one at a time − 1|.
    """
    jobs = sweep.configs(callbacks, data, device)
    losses: dict[tuple[int, int, str], Array] = {}
    strides = {ONE_BY_ONE: sweep.job_stride, TOGETHER: 1}

    def seconds_of_all(length: int, way: str, turn: int) -> float:
        configs = jobs[length][:: strides[way]]
        seconds, ends = timed(WAYS[way], configs)
        check_steps(ends, sweep.lengths[length])
        losses[turn, length, way] = np.array([end["metrics"][LOSS] for end in ends])[
            :: sweep.job_stride // strides[way]
        ]
        return seconds * len(jobs[length]) / len(configs)

    timed(train_one_by_one, jobs[1][:1])
    timed(WAYS[TOGETHER], jobs[1])
    with existing_objects_not_collected():
        ways = [partial(seconds_of_all, length, way) for length in range(len(jobs)) for way in WAYS]
        times: Array = np.array(in_turns(ways, sweep.rounds)).reshape(sweep.rounds, len(jobs), len(WAYS))
    together, alone = (np.array([losses[key] for key in losses if key[-1] == way]) for way in (TOGETHER, ONE_BY_ONE))
    return {
        "case": str(sweep),
        "batch": sweep.batch,
        "callbacks": callbacks,
        "steps": sweep.steps,
        "rounds": sweep.rounds,
        "every": sweep.job_stride,
        "loss_apart": float(np.abs(together / alone - 1).max()),
        **summary(times.swapaxes(1, 2), sweep),
        "peak_mebibytes": peaks(jobs[1], device) if sweep.memory else None,
    }


def check_steps(ends: Sequence[dict[str, Any]], steps: int) -> None:
    """Check that every job took this number of steps, by which its time is divided; raise RuntimeError otherwise."""
    for end in ends:
        if end["steps"] != steps:
            raise RuntimeError(f"{end['overrides']}: took {end['steps']} steps instead of {steps} ({end['reason']})")


def summary(times: Array, sweep: ReplicaSweep) -> dict[str, Any]:
    """Return times and their ratios, one at a time divided by together, as medians and ranges over rounds.

    Args:
        times: Seconds of all jobs, shape (rounds, ways, lengths): one at a time and together; long and short jobs.
        sweep: The jobs.
    Returns:
        `jobs`: times of all long jobs. `step`: times of a step of one replica, (long − short) / (replicas · difference
        in steps), NaN if noise makes it negative. `fixed`: fixed costs of a job, long / replicas − steps · step.
    """
    long, short = sweep.lengths
    steps = (times[..., 0] - times[..., 1]) / (sweep.replicas * (long - short))
    steps = np.where(steps > 0, steps, np.nan)
    fixed = times[..., 0] / sweep.replicas - long * steps
    jobs = ratio_and_range(times[:, 0, 0] / times[:, 1, 0])
    return {
        "jobs": {"seconds": _medians(times[..., 0]), **jobs},
        "step": {"milliseconds": _medians(1e3 * steps), **ratio_and_range(steps[:, 0] / steps[:, 1])},
        "fixed": {"seconds": _medians(fixed)},
        "goal": sweep.goal,
        "met": jobs["ratio"] >= sweep.goal,
    }


def _medians(values: Array) -> dict[str, float]:
    return dict(zip(WAYS, np.median(values, axis=0).tolist(), strict=True))


def peaks(configs: Sequence[Config], device: str) -> dict[str, float | None]:
    """Return the peak memory of training these jobs by method, in MiB beyond the memory after a job of a tiny net."""
    least = {**configs[0], **{group: {**configs[0][group], **settings} for group, settings in LEAST.items()}}
    prepare = partial(timed, train_one_by_one, [least])
    return {way: peak_mebibytes(prepare, partial(timed, WAYS[way], configs), device) for way in WAYS}


def remarks(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return sentences about the peak memory, and about the difference between the losses of both methods."""
    memory = "peak memory, {case}, batch {batch}, callbacks={callbacks}: "
    by_way = ", ".join(f"{{peak_mebibytes[{way}]:.0f}} MiB {way}" for way in WAYS)
    known = [row for row in results if row["peak_mebibytes"] and None not in row["peak_mebibytes"].values()]
    apart = max(row["loss_apart"] for row in results)
    sentence = f"the test losses of the jobs one at a time and together differ by at most {apart:.1e} of their value"
    return [*((memory + by_way).format(**row) for row in known), sentence]
