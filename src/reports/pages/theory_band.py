"""Theory's prediction of a run's activation lengths at initialization, from nothing but the run's config."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from start_training.config.build import build_datamodule, build_initializers, construct_net
from start_training.models.law import law_of
from start_training.reports.run_report import predicted_log

Array = NDArray[np.float64]
SIGMAS = 1.96  # 95% of a normal distribution


@dataclass(frozen=True)
class TheoryBand:
    """The mean length of nets at initialization, and where 95% of nets lie, for layers 0 … d.

    Attributes:
        log_mean: log E[M_j] over nets, in nats, shape (d + 1,).
        low: Lower end of the band of log M_j; None where theory has no spread.
        high: Upper end.
    """

    log_mean: Array
    low: Array | None = None
    high: Array | None = None


def theory_band(config: Mapping[str, Any], initial: Array) -> TheoryBand | None:
    """Predict the lengths of a run at initialization.

    The spread E[M_j²] / E[M_j]² = exp(r_j) is that of a log-normal length of variance r_j and mean log E[M_j] − r_j/2,
    as lengths of deep nets are (Hanin & Nica 2018, arXiv:1812.05994); where theory gives two bounds of r_j, it is the
    upper one.

    Args:
        config: The run's config, which names only what may be imported.
        initial: Measured mean lengths M_0 … M_d of the first step, shape (d + 1,), of which theory needs M_0.
    Returns:
        None if theory does not cover the net, the initializer or the measured layers.
    """
    used = {group: config.get(group) for group in ("model", "datamodule", "initializer", "readout_initializer")}
    net, initializer = _net_and_initializer(json.dumps(used, sort_keys=True))
    law, log_mean = law_of(net, initializer), predicted_log(net, initializer, initial)
    if law is None or log_mean is None:
        return None
    bounds = law.log_moment_ratio(float(log_mean[0]))
    if bounds is None:
        return TheoryBand(log_mean)
    spread = np.concatenate([[0.0], bounds[1]])
    middle, reach = log_mean - spread / 2, SIGMAS * np.sqrt(spread)
    return TheoryBand(log_mean, middle - reach, middle + reach)


@lru_cache(maxsize=16)  # the jobs of a sweep have few nets
def _net_and_initializer(nodes: str) -> tuple[nn.Module, Any]:
    config = json.loads(nodes)
    with torch.device("meta"):  # only shapes are needed, and no random number is drawn
        net = construct_net(config, build_datamodule(config))
    return net, build_initializers(config)[0]
