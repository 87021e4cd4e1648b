"""Figure 1b at full size, extrapolated from a share of it: some depths' jobs as one group each, for one and two epochs.

All jobs of a depth (8 initializers × 5 seeds) train together as the replicas launcher would have them, none stopping
when its training has started, lengths at every step. From the two numbers of epochs comes what an epoch costs, its
test included, and what is fixed (nets, summaries, figures); between depths both are taken to be linear. The sum over
depths as if every job took all of its 100 epochs is what the figure costs at most: where jobs stop at the start of
their training, groups shrink. One job at a time is extrapolated likewise from one job of each of these depths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from benchmarks._replicas_figure_1b import EXPERIMENT, GOALS, sweep
from benchmarks._replicas_jobs import (
    TRAINERS,
    Config,
    changed,
    data_overrides,
    nothing_old_collected,
    timed,
    train_alone,
)
from benchmarks.gpu_parts.parts import FINDING, Measurement
from start_training.training.replica_runs import train_group

EPOCHS = (1, 2)
DEPTHS = (100, 10, 50)  # of 10, 20 … 100; the last is the first to be left out
TINY_DEPTHS = (3, 2)
TINY = (
    "size=small",
    "datamodule=digits",
    "datamodule.batch_size=512",
    "hydra.sweeper.params.initializer='he_normal,lecun_normal'",
    "hydra.sweeper.params.depth='2,3'",
    "hydra.sweeper.params.seed=0",
)


@dataclass
class Share:
    """What has been measured of the figure's jobs: of each depth, seconds of one and of two epochs."""

    device: str
    tiny: bool
    together: dict[int, list[float]] = field(default_factory=dict)
    alone: dict[int, list[float]] = field(default_factory=dict)

    def jobs(self) -> tuple[list[DictConfig], list[dict[str, int]]]:
        """The experiment with each initializer, and the other settings of each of its jobs."""
        if self.tiny:
            return sweep([*EXPERIMENT, TRAINERS[self.device], *TINY])
        data, _ = data_overrides()
        return sweep([*EXPERIMENT, TRAINERS[self.device], *data, "datamodule.batch_size=1024"])


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """The depths, and what follows from them."""
    share, depths = Share(device, tiny), TINY_DEPTHS if tiny else DEPTHS
    groups = [Measurement(f"depth {depth}", partial(one_depth, share, depth), depth + 20.0) for depth in depths]
    return [*groups, Measurement("all, extrapolated", partial(extrapolated, share))]


def one_depth(share: Share, depth: int, seconds: float) -> dict[str, Any]:
    """Seconds of all jobs of a depth together, and of one of them alone; the least job of all is trained before."""
    composed, swept = share.jobs()
    of_depth = [settings for settings in swept if settings["depth"] == depth]
    timed(train_alone, [_config(composed[0], of_depth[0], EPOCHS[0])])
    if share.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    together, alone = list[float](), list[float]()
    for epochs in EPOCHS:
        configs = [_config(config, settings, epochs) for config in composed for settings in of_depth]
        with nothing_old_collected():
            together.append(timed(train_group, configs)[0])
            alone.append(timed(train_alone, configs[:1])[0])
    share.together[depth], share.alone[depth] = together, alone
    (_, epoch), (_, epoch_alone) = line(together), line(alone)
    peak = torch.cuda.max_memory_allocated() / 2**20 if share.device == "cuda" else None
    words = f"{len(configs)} jobs: an epoch {epoch:.2f} s, of one job alone {epoch_alone:.2f} s"
    told = {"jobs": len(configs), "epochs": EPOCHS, "together_seconds": together, "alone_seconds": alone}
    return {**told, "peak_mebibytes": peak, FINDING: words + (f"; {peak:,.0f} MiB" if peak else "")}


def extrapolated(share: Share, seconds: float) -> dict[str, Any]:
    """All jobs of the figure, each for all of its epochs. Raises ValueError where fewer than two depths are known."""
    if len(share.together) < 2:
        raise ValueError(f"{len(share.together)} depths measured: two are needed")
    composed, swept = share.jobs()
    epochs, depths = int(composed[0].trainer.max_epochs), np.array([settings["depth"] for settings in swept])
    jobs = len(composed) * len(swept)
    group_size = jobs / len(np.unique(depths))
    together = whole(share.together, np.unique(depths), epochs)
    alone = whole(share.alone, depths, epochs) * len(composed)
    measured = len(share.together) * group_size * sum(EPOCHS) / (jobs * epochs)
    met = {"seconds": together <= GOALS["seconds"], "ratio": alone / together >= GOALS["ratio"]}
    words = f"at most {together:,.0f} s together, {alone:,.0f} s one at a time, {alone / together:.1f} times as long; "
    words += f"from {measured:.2%} of the jobs' epochs, as if no job stopped before epoch {epochs}"
    if share.device == "cuda" and not share.tiny:
        words += (
            f"; goals {GOALS['seconds']:g} s {_word(met['seconds'])}, {GOALS['ratio']:g} times {_word(met['ratio'])}"
        )
    told = {"jobs": jobs, "epochs": epochs, "share": measured, "depths": sorted(share.together), "met": met}
    assumption = f"every job takes {epochs} epochs; cost linear in epochs, and in depth between those measured"
    return {
        **told,
        "seconds": together,
        "alone_seconds": alone,
        "ratio_of_times": alone / together,
        "assumption": assumption,
        FINDING: words,
    }


def line(seconds: Sequence[float]) -> tuple[float, float]:
    """What is fixed and what an epoch takes, of seconds of `EPOCHS`."""
    (one, more), (less, longer) = EPOCHS, seconds
    epoch = (longer - less) / (more - one)
    return less - one * epoch, epoch


def whole(measured: dict[int, list[float]], depths: np.ndarray, epochs: int) -> float:
    """Seconds of so many epochs, summed over depths, linear between those measured."""
    known = sorted(measured)
    fixed, epoch = zip(*(line(measured[depth]) for depth in known), strict=True)
    return float((np.interp(depths, known, fixed) + epochs * np.interp(depths, known, epoch)).sum())


def _config(composed: DictConfig, settings: dict[str, int], epochs: int) -> Config:
    return changed(composed, {**settings, "trainer.max_epochs": epochs, "callbacks.start_of_training.stop": False})


def _word(met: bool) -> str:
    return "met" if met else "not shown to be met"
