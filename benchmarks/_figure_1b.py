"""Time the jobs of figure 1b of Hanin & Rolnick in groups of replicas, compared with one at a time (extrapolated)."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from omegaconf import DictConfig

from benchmarks._harness import met
from benchmarks._measuring import Array, arithmetic_limit
from benchmarks._replica_jobs import (
    TRAINERS,
    Config,
    changed,
    compose_each,
    existing_objects_not_collected,
    timed,
    train_one_by_one,
)
from start_training.config.build import build_datamodule, construct_net
from start_training.launchers.grouping import group_key
from start_training.runs.job import Job
from start_training.training.replica_runs import train_group

EXPERIMENT = ("experiment=hanin_rolnick/figure_1b", "logger=csv", "trainer.enable_progress_bar=false")
SAMPLED_EPOCHS = (1, 3)
TURNS = 3
GOALS = {"ratio": 20.0, "seconds": 600.0}  # least ratio and most seconds of the full figure on one data-centre GPU
MATRIX = {"cpu": 2048, "cuda": 8192}  # size of the matrices whose products measure the speed of the device


def figure_1b(overrides: Sequence[str], device: str = "cpu") -> dict[str, Any]:
    """Train all jobs of the figure in groups of replicas, as a multirun does, and a sample of them one at a time.

    Args:
        overrides: Overrides of the experiment.
        device: `cpu` or `cuda`.
    Returns:
        The results of `summary`, and the rates of arithmetic in TFLOP/s: `teraflops` of the jobs, and `limit` of
        products of large matrices.
    """
    composed, swept = sweep([*EXPERIMENT, TRAINERS[device], *overrides])
    configs = [changed(config, settings) for config in composed for settings in swept]
    depths = np.array([config["depth"] for config in configs])
    sample, steps_per_epoch = time_one_by_one(composed[0], np.unique(depths))
    with existing_objects_not_collected():
        seconds, ends = timed(train_in_groups, configs)
    steps = np.array([end["steps"] for end in ends])
    operations = steps @ np.array([step_operations(config) for config in configs])
    rates = {"teraflops": 1e-12 * operations / seconds, "limit": arithmetic_limit(device, size=MATRIX[device])}
    return {"device": device, **summary(sample, steps_per_epoch, seconds, depths, steps), **rates}


def sweep(overrides: Sequence[str]) -> tuple[list[DictConfig], list[dict[str, int]]]:
    """Compose the experiment with each of its initializers, and list the other swept settings of each job."""
    [whole] = compose_each(overrides, ["he_normal"], return_hydra_config=True)
    values = {name: str(values).split(",") for name, values in whole.hydra.sweeper.params.items()}
    composed = compose_each(overrides, values.pop("initializer"))
    return composed, [dict(zip(values, map(int, settings), strict=True)) for settings in product(*values.values())]


def full_length(composed: DictConfig, settings: Mapping[str, int], epochs: int) -> Config:
    """Return the config of a job that trains for `epochs` epochs and does not stop when its training has started."""
    return changed(composed, {**settings, "trainer.max_epochs": epochs, "callbacks.start_of_training.stop": False})


def train_in_groups(jobs: Sequence[Job]) -> None:
    """Train jobs in groups of replicas, one group after the other in this process."""
    keys = [group_key(job.config) for job in jobs]
    for key in dict.fromkeys(keys):
        train_group([job for job, job_key in zip(jobs, keys, strict=True) if job_key == key])


def time_one_by_one(composed: DictConfig, depths: Array) -> tuple[dict[int, list[float]], int]:
    """Time single jobs of the smallest, a middle and the largest depth, after a warm-up job.

    Args:
        composed: Config of a job.
        depths: Depths of the jobs, increasing.
    Returns:
        Seconds of a job for each of `SAMPLED_EPOCHS` by depth (medians over turns), and the steps of an epoch.
    """
    chosen = np.unique(depths[[0, len(depths) // 2, -1]])
    seconds, steps = np.empty((TURNS, len(chosen), len(SAMPLED_EPOCHS))), 0
    for turn, depth, length in [(0, 0, 0), *np.ndindex(seconds.shape)]:
        config = full_length(composed, {"depth": int(chosen[depth])}, SAMPLED_EPOCHS[length])
        with existing_objects_not_collected():
            seconds[turn, depth, length], [end] = timed(train_one_by_one, [config])
        steps = end["steps"] // SAMPLED_EPOCHS[length]
    return dict(zip(chosen.tolist(), np.median(seconds, axis=0).tolist(), strict=True)), steps


def epoch_cost(epochs: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Fit a line through the seconds of two numbers of epochs.

    Args:
        epochs: Two numbers of epochs.
        seconds: Seconds of a job of each of these lengths.
    Returns:
        Seconds that do not depend on the number of epochs, and seconds per epoch.
    """
    (fewer, more), (less, longer) = epochs, seconds
    epoch = (longer - less) / (more - fewer)
    return less - fewer * epoch, epoch


def extrapolate(
    measured: Mapping[int, Sequence[float]], lengths: Sequence[int], depths: Array, epochs: Array | int
) -> float:
    """Return the seconds of all jobs, taken to be linear in epochs and linear in depth between measured depths.

    Args:
        measured: Seconds of a job of each of the `lengths`, by depth.
        lengths: Two numbers of epochs.
        depths: Depth of each job, shape (jobs,).
        epochs: Number of epochs of each job, shape (jobs,), or a number for all jobs.
    """
    known = sorted(measured)
    fixed, epoch = zip(*(epoch_cost(lengths, measured[depth]) for depth in known), strict=True)
    return float((np.interp(depths, known, fixed) + epochs * np.interp(depths, known, epoch)).sum())


def summary(
    sample: Mapping[int, Sequence[float]], steps_per_epoch: int, seconds: float, depths: Array, steps: Array
) -> dict[str, Any]:
    """Return the times of all jobs, in groups and extrapolated one at a time for the same numbers of steps.

    Args:
        sample: Seconds of single jobs, from `time_one_by_one`.
        steps_per_epoch: Optimizer steps in an epoch, from `time_one_by_one`.
        seconds: Seconds of all jobs in groups.
        depths: Depth of each job, shape (jobs,).
        steps: Optimizer steps of each job, shape (jobs,).
    """
    alone = extrapolate(sample, SAMPLED_EPOCHS, depths, steps / steps_per_epoch)
    sampled = {"depths": [*sample], "epochs": [*SAMPLED_EPOCHS], "seconds": [*sample.values()]}
    return {
        "jobs": len(depths),
        "steps": int(steps.sum()),
        "seconds": seconds,
        "alone_seconds": alone,
        "ratio": alone / seconds,
        "met": goals_met(alone, seconds),
        "sample": {**sampled, "steps_per_epoch": steps_per_epoch},
    }


def goals_met(alone: float, together: float) -> dict[str, bool]:
    """Return whether the seconds of all jobs, one at a time and in groups, meet each of `GOALS`."""
    return {"ratio": alone / together >= GOALS["ratio"], "seconds": together <= GOALS["seconds"]}


def step_operations(config: Config) -> float:
    """Return the approximate number of floating-point operations of a step: 2 per weight and sample forward, 4 back."""
    weights = sum(weight.numel() for weight in construct_net(config, build_datamodule(config)).parameters())
    return 6.0 * weights * config["datamodule"]["batch_size"]


def sentences(result: dict[str, Any]) -> list[str]:
    """Return sentences on the results of `figure_1b`; goals are only mentioned for a GPU."""
    goals = {
        name: f" (goal {goal:g}: {met(result['met'][name])})" if result["device"] == "cuda" else ""
        for name, goal in GOALS.items()
    }
    sample, rate = result["sample"], result["steps"] / result["seconds"]
    depths, epochs = (" and ".join(f"{value:g}" for value in sample[name]) for name in ("depths", "epochs"))
    return [
        f"{result['jobs']} jobs of figure 1b, {result['steps']} steps: trained together {result['seconds']:.1f} s"
        f"{goals['seconds']}, one at a time {result['alone_seconds']:.0f} s, {result['ratio']:.2f} times as long"
        f"{goals['ratio']}",
        f"the time one at a time is extrapolated from jobs of depths {depths} that trained for {epochs} epochs",
        f"trained together: {rate:.0f} steps of a net per second, {result['teraflops']:.3g} TFLOP/s, which is "
        f"{result['teraflops'] / result['limit']:.1%} of the {result['limit']:.3g} of products of large matrices",
    ]
