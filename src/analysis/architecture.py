"""What a run's config says of the size of its net, without data and without training it."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from start_training.config.build import build_datamodule, construct_net
from start_training.lengths.capture import measured_layers
from start_training.streams import isolate_random_streams
from start_training.theory.beta import beta


def depth_and_beta(config: Mapping[str, Any]) -> tuple[int | None, float]:
    """The number of measured layers d, and beta = Σ_j 1/n_j of a net that has `widths`, NaN of others.

    Where no net can be built from the config, d is the config's `depth`, or None. Rounded to nine digits, so that
    equal sums of reciprocals are equal numbers.
    """
    try:
        return _measured(json.dumps({group: config[group] for group in ("model", "datamodule")}))
    except Exception:  # whatever a user's module raises, or one that has moved since: a table is to show the others
        depth = config.get("depth")
        return depth if isinstance(depth, int) else None, np.nan


@lru_cache(maxsize=1024)  # the jobs of a sweep share few architectures
def _measured(groups: str) -> tuple[int, float]:
    config = json.loads(groups)
    with isolate_random_streams():  # the constructor draws weights
        net = construct_net(config, build_datamodule(config))
    widths = getattr(net, "widths", None)
    return len(measured_layers(net)), np.nan if widths is None else round(beta(widths), 9)
