"""The jobs of figure 1b: all of them together, in groups as a multirun has them, and a sample of them one at a time."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from hydra import compose
from omegaconf import DictConfig

from benchmarks._arithmetic import arithmetic_limit
from benchmarks._interleaved import Array
from benchmarks._replicas_jobs import (
    TRAINERS,
    Config,
    changed,
    conf,
    nothing_old_collected,
    timed,
    train_alone,
)
from start_training.config.build import build_datamodule, construct_net
from start_training.launchers.grouping import group_key
from start_training.runs.job import Job
from start_training.training.replica_runs import train_group

EXPERIMENT = ("experiment=hanin_rolnick/figure_1b", "logger=csv", "trainer.enable_progress_bar=false")
SAMPLED_EPOCHS = (1, 3)
TURNS = 3
GOALS = {"ratio": 20.0, "seconds": 600.0}  # at least and at most, of the full size on one data-centre GPU


class Sample(NamedTuple):
    """Seconds of jobs one at a time, (depths, epochs), and the steps of an epoch."""

    depths: Array
    epochs: Array
    seconds: Array
    steps_per_epoch: int


def figure_1b(overrides: Sequence[str], device: str = "cpu") -> dict[str, Any]:
    """What `summary` says of the figure's jobs, with these overrides of the experiment."""
    composed, swept = sweep([*EXPERIMENT, TRAINERS[device], *overrides])
    configs = [changed(config, settings) for config in composed for settings in swept]
    depths = np.array([config["depth"] for config in configs])
    sample = sampled(composed[0], np.unique(depths))
    with nothing_old_collected():
        seconds, ends = timed(train_in_groups, configs)
    steps = np.array([end["steps"] for end in ends])
    operations = steps @ np.array([step_operations(config) for config in configs])
    rates = {"teraflops": 1e-12 * operations / seconds, "limit": arithmetic_limit(device)}
    return {"device": device, **summary(sample, seconds, depths, steps), **rates}


def sweep(overrides: Sequence[str]) -> tuple[list[DictConfig], list[dict[str, int]]]:
    """The experiment with each of its initializers, and what else its sweep sets, for each of its jobs."""
    with conf():
        whole = compose("train", list(overrides), return_hydra_config=True)
        values = {name: str(values).split(",") for name, values in whole.hydra.sweeper.params.items()}
        composed = [compose("train", [*overrides, f"initializer={name}"]) for name in values.pop("initializer")]
    return composed, [dict(zip(values, map(int, each), strict=True)) for each in product(*values.values())]


def train_in_groups(jobs: Sequence[Job]) -> None:
    """One group after another in this process."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(group_key(job.config), []).append(job)
    for group in groups.values():
        train_group(group)


def sampled(composed: DictConfig, depths: Array) -> Sample:
    """Jobs of the least, a middle and the greatest depth that do not stop when training starts; medians of turns.

    Before them comes a job that is not timed.
    """
    chosen = np.unique(depths[[0, len(depths) // 2, -1]])
    seconds, steps = np.empty((TURNS, len(chosen), len(SAMPLED_EPOCHS))), 0
    for turn, depth, length in [(0, 0, 0), *np.ndindex(seconds.shape)]:
        epochs = SAMPLED_EPOCHS[length]
        settings = {"depth": int(chosen[depth]), "trainer.max_epochs": epochs}
        config = changed(composed, {**settings, "callbacks.start_of_training.stop": False})
        with nothing_old_collected():
            seconds[turn, depth, length], [end] = timed(train_alone, [config])
        steps = end["steps"] // epochs
    return Sample(chosen, np.array(SAMPLED_EPOCHS, dtype=float), np.median(seconds, axis=0), steps)


def summary(sample: Sample, seconds: float, depths: Array, steps: Array) -> dict[str, Any]:
    """Of jobs of these depths that took so many steps, and all together so many seconds.

    One at a time a job is taken to last a + b × epochs, with a and b of the sample, linear between its depths; its
    epochs, the test at their ends included, are those that it took together with the others.
    """
    (one, more), (less, longer) = sample.epochs, sample.seconds.T
    epoch = (longer - less) / (more - one)
    fixed = less - one * epoch
    of_job = np.interp(depths, sample.depths, fixed), np.interp(depths, sample.depths, epoch)
    alone = float((of_job[0] + of_job[1] * steps / sample.steps_per_epoch).sum())
    ratio = alone / seconds
    return {
        "jobs": len(depths),
        "steps": int(steps.sum()),
        "seconds": seconds,
        "alone_seconds": alone,
        "ratio": ratio,
        "met": {"ratio": ratio >= GOALS["ratio"], "seconds": seconds <= GOALS["seconds"]},
        "sample": {name: np.asarray(value).tolist() for name, value in sample._asdict().items()},
    }


def step_operations(config: Config) -> float:
    """Floating-point operations of a step, about: 2 per weight and sample forward, and 4 backward."""
    weights = sum(weight.numel() for weight in construct_net(config, build_datamodule(config)).parameters())
    return 6.0 * weights * config["datamodule"]["batch_size"]


def sentences(result: dict[str, Any]) -> list[str]:
    """What came out, and of what it was extrapolated. Goals are those of a GPU."""
    goals = dict.fromkeys(GOALS, "")
    if result["device"] == "cuda":
        goals = {
            name: f" (goal {goal:g}: {'met' if result['met'][name] else 'missed'})" for name, goal in GOALS.items()
        }
    sample, rate = result["sample"], result["steps"] / result["seconds"]
    depths, epochs = (" and ".join(f"{value:g}" for value in sample[name]) for name in ("depths", "epochs"))
    return [
        f"{result['jobs']} jobs of figure 1b, {result['steps']} steps: together {result['seconds']:.1f} s"
        f"{goals['seconds']}, one at a time {result['alone_seconds']:.0f} s, {result['ratio']:.2f} times as long"
        f"{goals['ratio']}",
        f"one at a time is extrapolated from jobs of depths {depths} that took {epochs} epochs",
        f"together: {rate:.0f} steps of a net a second, {result['teraflops']:.3g} TFLOP/s; products of large matrices"
        f" {result['limit']:.3g}, of which that is {result['teraflops'] / result['limit']:.1%}",
    ]
