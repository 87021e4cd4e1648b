"""Extrapolate the time of the full figure 1b from the jobs of a few depths, trained for one and for two epochs.

All jobs of a depth (8 initializers × 5 seeds) train together as one group, as with the replicas launcher, with lengths
at every step; no job stops when its training has started. The times of one and two epochs give the seconds of an epoch,
including its test, and the fixed seconds (nets, summaries, figures). Both are interpolated linearly between depths. The
sum over depths, as if every job took all of its 100 epochs, is an upper bound of the time of the figure, since groups
shrink when jobs stop at the start of their training. The time of one job at a time is extrapolated in the same way from
one job of each of these depths.
"""

from functools import partial
from typing import Any

import numpy as np
from omegaconf import DictConfig

from benchmarks._figure_1b import EXPERIMENT, GOALS, epoch_cost, extrapolate, full_length, goals_met, sweep
from benchmarks._measuring import with_gpu_peak
from benchmarks._mnist import data_overrides
from benchmarks._replica_jobs import TRAINERS, existing_objects_not_collected, timed, train_one_by_one
from benchmarks.gpu_parts.parts import FINDING, Case
from start_training.training.replica_runs import train_group

EPOCHS = (1, 2)
DEPTHS = (100, 10, 50)  # measured depths of 10, 20 … 100, in the order of their importance
TINY_DEPTHS = (3, 2)
TINY = (
    "size=small",
    "datamodule=digits",
    "datamodule.batch_size=512",
    "hydra.sweeper.params.initializer='he_normal,lecun_normal'",
    "hydra.sweeper.params.depth='2,3'",
    "hydra.sweeper.params.seed=0",
)


Seconds = dict[int, list[float]]  # seconds for each of `EPOCHS`, by depth


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Return a case for each depth, and one for the extrapolation from all of them."""
    together: Seconds = {}
    alone: Seconds = {}
    depths = TINY_DEPTHS if tiny else DEPTHS
    groups = [
        Case(f"depth {depth}", partial(one_depth, device, tiny, together, alone, depth), depth + 20.0)
        for depth in depths
    ]
    return [*groups, Case("all, extrapolated", partial(extrapolated, device, tiny, together, alone))]


def swept_jobs(device: str, tiny: bool) -> tuple[list[DictConfig], list[dict[str, int]]]:
    """Compose the experiment with each initializer, and list the other swept settings of each job."""
    data = TINY if tiny else (*data_overrides()[0], "datamodule.batch_size=1024")
    return sweep([*EXPERIMENT, TRAINERS[device], *data])


def one_depth(device: str, tiny: bool, together: Seconds, alone: Seconds, depth: int, seconds: float) -> dict[str, Any]:
    """Measure the seconds of all jobs of a depth together and of one job on its own, after a warm-up job."""
    composed, swept = swept_jobs(device, tiny)
    of_depth = [settings for settings in swept if settings["depth"] == depth]
    configs = [
        [full_length(config, settings, epochs) for config in composed for settings in of_depth] for epochs in EPOCHS
    ]

    def train_all() -> list[list[float]]:
        with existing_objects_not_collected():
            return [[timed(train_group, jobs)[0], timed(train_one_by_one, jobs[:1])[0]] for jobs in configs]

    timed(train_one_by_one, configs[0][:1])
    times, peak = with_gpu_peak(train_all, device)
    together[depth], alone[depth] = np.transpose(times).tolist()
    (_, epoch), (_, epoch_alone) = epoch_cost(EPOCHS, together[depth]), epoch_cost(EPOCHS, alone[depth])
    return {
        "jobs": len(configs[0]),
        "epochs": EPOCHS,
        "together_seconds": together[depth],
        "alone_seconds": alone[depth],
        "peak_mebibytes": peak,
        FINDING: f"an epoch of {len(configs[0])} jobs together {epoch:.2f} s, of one job {epoch_alone:.2f} s"
        + (f"; peak memory {peak:,.0f} MiB" if peak else ""),
    }


def extrapolated(
    device: str, tiny: bool, times_together: Seconds, times_alone: Seconds, seconds: float
) -> dict[str, Any]:
    """Estimate the seconds that all jobs of the figure take, from measurements at some depths over some epochs.

    Raises:
        ValueError: fewer than two depths have been measured.
    """
    known = sorted(times_together)
    if len(known) < 2:
        raise ValueError(f"{len(known)} depths have been measured: the extrapolation needs at least two")
    composed, swept = swept_jobs(device, tiny)
    epochs, depths = int(composed[0].trainer.max_epochs), np.array([settings["depth"] for settings in swept])
    jobs, groups = len(composed) * len(swept), np.unique(depths)
    together = extrapolate(times_together, EPOCHS, groups, epochs)
    alone = extrapolate(times_alone, EPOCHS, depths, epochs) * len(composed)
    share = len(known) / len(groups) * sum(EPOCHS) / epochs
    met, goals = goals_met(alone, together), ""
    if device == "cuda" and not tiny:
        shown = {name: "met" if is_met else "not shown to be met" for name, is_met in met.items()}
        goals = f"; goal {GOALS['seconds']:g} s {shown['seconds']}, goal {GOALS['ratio']:g} times {shown['ratio']}"
    return {
        "jobs": jobs,
        "epochs": epochs,
        "share": share,
        "depths": known,
        "met": met,
        "seconds": together,
        "alone_seconds": alone,
        "ratio_of_times": alone / together,
        "assumption": f"every job takes {epochs} epochs; time is linear in epochs, and in depth between measured ones",
        FINDING: f"at most {together:,.0f} s together, {alone:,.0f} s one at a time, {alone / together:.1f} times as "
        f"long; extrapolated from {share:.2%} of all epochs to {epochs} epochs of every job{goals}",
    }
