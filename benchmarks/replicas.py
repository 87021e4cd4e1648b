"""How much faster a multirun's jobs train together, as one program, than one at a time in the same process.

Whole jobs of scripts/train.py with logger=csv and no progress bar: SGD at 0.01 without momentum, no validation, MNIST
where DATA_DIR has it, else random inputs of its shape. A sweep has 30 seeds, each with its weights and order of
batches, or 6 initializers × 5 seeds, as figure 1b has them; of larger nets 6 seeds. Both ways train the same jobs in
new directories, in alternating order, after a short run of each that is not timed. One at a time, only every third
job is trained (of larger nets every second), and the time multiplied. A job that takes another number of steps is an
error.

  jobs   from the first job's start to the last one's summary: net, steps, test of 10,000 images, figure and all
  step   of one replica, without the fixed costs of a job: from the difference to jobs of a fifth of the steps

Ratios are times one at a time over times together, medians of rounds with their ranges; goals are of whole jobs.
--figure-1b times instead all jobs of the full-size figure 1b together, and extrapolates one at a time from a sample;
their rate of arithmetic is compared with that of products of large matrices on the device.
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
    ALONE,
    TOGETHER,
    TRAINERS,
    WAYS,
    Config,
    changed,
    compose_each,
    existing_objects_not_collected,
    timed,
    train_alone,
)

QUICK_FIGURE = ("size=small", "trainer.max_epochs=1", "hydra.sweeper.params.seed='0,1'")
INITIALIZERS = ("he_normal", "he_uniform", "he_truncated_normal", "lecun_normal", "glorot_normal", "torch_default")
SHORT = 5  # the short jobs, from which fixed costs are computed, take a fifth of the steps
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
    "rest of a job, s": " / ".join(f"{{fixed[seconds][{way}]:.2f}}" for way in WAYS),
}
LEAST = {"model": {"depth": 1, "width": 1}, "datamodule": {"batch_size": 1}, "trainer": {"max_steps": 1}}


@dataclass(frozen=True)
class ReplicaSweep:
    """Jobs that train `size` layers of `size`.

    How many, for how many steps, and every how many-th of them one at a time; `memory`: whether it is measured.
    """

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
        """Of all jobs, the long and the short ones; the seed varies fastest."""
        model = [f"model.depth={self.size}", f"model.width={self.size}", "optimizer.momentum=0"]
        rest = [TRAINERS[device], f"callbacks={callbacks}", "logger=csv", "trainer.enable_progress_bar=false"]
        composed = compose_each([*data, f"datamodule.batch_size={self.batch}", *model, *rest], self.initializers)
        seeds = range(self.replicas // len(self.initializers))
        return [
            [changed(config, {"trainer.max_steps": steps, "seed": seed}) for config in composed for seed in seeds]
            for steps in self.lengths
        ]


@benchmark(
    quick="one small net and few steps, under a minute",
    width=120,
    figure_1b={"action": "store_true", "help": "its jobs, with --quick those of its small size"},
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
    """Those that the project has goals for. The larger nets' replicas and steps are fewer, as they take so long."""
    if quick:
        return [ReplicaSweep(10, 64, 150, every=6, rounds=2)]
    small = [ReplicaSweep(10, 64, 300), ReplicaSweep(10, 256, 300), ReplicaSweep(10, 1024, 150, memory=True)]
    small += [ReplicaSweep(20, 64, 200), ReplicaSweep(20, 256, 200), ReplicaSweep(20, 1024, 100)]
    small += [ReplicaSweep(10, batch, steps, initializers=INITIALIZERS) for batch, steps in ((256, 300), (1024, 150))]
    large = [ReplicaSweep(60, 256, 40, 6, 2), ReplicaSweep(60, 1024, 30, 6, 2), ReplicaSweep(100, 256, 20, 6, 2)]
    return [*small, *large, ReplicaSweep(100, 1024, 15, 6, 2, memory=True)]


def measure(sweep: ReplicaSweep, callbacks: str, data: Sequence[str], device: str = "cpu") -> dict[str, Any]:
    """Times of the jobs one at a time and together.

    Args:
        sweep: The jobs.
        callbacks: The option of that config group.
        data: Overrides, as from `data_overrides`.
        device: `cpu` or `cuda`.
    Returns:
        The numbers of `summary`, the peak of memory, and `loss_apart`: |loss together / loss one at a time − 1|, at
        most over jobs.
    """
    jobs = sweep.configs(callbacks, data, device)
    losses: dict[tuple[int, int, str], Array] = {}
    every = {ALONE: sweep.every, TOGETHER: 1}

    def seconds_of_all(length: int, way: str, turn: int) -> float:
        configs = jobs[length][:: every[way]]
        seconds, ends = timed(WAYS[way], configs)
        check_steps(ends, sweep.lengths[length])
        losses[turn, length, way] = np.array([end["metrics"][LOSS] for end in ends])[:: sweep.every // every[way]]
        return seconds * len(jobs[length]) / len(configs)

    timed(train_alone, jobs[1][:1])
    timed(WAYS[TOGETHER], jobs[1])
    with existing_objects_not_collected():
        ways = [partial(seconds_of_all, length, way) for length in range(len(jobs)) for way in WAYS]
        times: Array = np.array(in_turns(ways, sweep.rounds)).reshape(sweep.rounds, len(jobs), len(WAYS))
    together, alone = (np.array([losses[key] for key in losses if key[-1] == way]) for way in (TOGETHER, ALONE))
    return {
        "case": str(sweep),
        "batch": sweep.batch,
        "callbacks": callbacks,
        "steps": sweep.steps,
        "rounds": sweep.rounds,
        "every": sweep.every,
        "loss_apart": float(np.abs(together / alone - 1).max()),
        **summary(times.swapaxes(1, 2), sweep),
        "peak_mebibytes": peaks(jobs[1], device) if sweep.memory else None,
    }


def check_steps(ends: Sequence[dict[str, Any]], steps: int) -> None:
    """Raises RuntimeError for a job that took another number of steps than the one that its time is divided by."""
    for end in ends:
        if end["steps"] != steps:
            raise RuntimeError(f"{end['overrides']}: {end['steps']} steps, not {steps} ({end['reason']})")


def summary(times: Array, sweep: ReplicaSweep) -> dict[str, Any]:
    """Ratios of times, one at a time over together; `range` is that over rounds.

    Args:
        times: Seconds of all jobs, (rounds, ways, lengths): one at a time and together, of long jobs and short ones.
        sweep: The jobs.
    Returns:
        `jobs`: of long jobs. `step`: of a replica's step, (long − short) / (replicas × the steps between); NaN where
        noise has made that negative. `fixed`: of a job, long / replicas − steps × step.
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
    """By way, of values (rounds, ways)."""
    return dict(zip(WAYS, np.median(values, axis=0).tolist(), strict=True))


def peaks(configs: Sequence[Config], device: str) -> dict[str, float | None]:
    """By way, what training these jobs adds at its peak to the memory held after a job of the least net, in MiB."""
    least = {**configs[0], **{group: {**configs[0][group], **settings} for group, settings in LEAST.items()}}
    prepare = partial(timed, train_alone, [least])
    return {way: peak_mebibytes(prepare, partial(timed, WAYS[way], configs), device) for way in WAYS}


def remarks(results: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about memory, and about how much the two ways' losses differ."""
    memory = "memory at its peak, {case}, batch {batch}, callbacks={callbacks}: "
    by_way = ", ".join(f"{{peak_mebibytes[{way}]:.0f}} MiB {way}" for way in WAYS)
    known = [row for row in results if row["peak_mebibytes"] and None not in row["peak_mebibytes"].values()]
    apart = max(row["loss_apart"] for row in results)
    sentence = f"test losses of the two ways differ by at most {apart:.1e} of their value"
    return [*((memory + by_way).format(**row) for row in known), sentence]
