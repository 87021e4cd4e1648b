"""Depth and beta of the net that a run's config describes, computed without loading data or training."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from start_training.config.build import build_datamodule, construct_net
from start_training.config.build_task import own_module, takes
from start_training.lengths.layer_choice import choose_layers
from start_training.streams import isolate_random_streams
from start_training.theory.beta import beta


def depth_and_beta(config: Mapping[str, Any]) -> tuple[int | None, float]:
    """Return the depth d and beta = Σ_j 1/n_j of the net that a config describes.

    Args:
        config: Config of a run, with the groups `model` and `datamodule`.

    Returns:
        The number of measured layers d. If the net cannot be built, the config's `depth`, or None if that is missing.
        beta, rounded to nine digits so that equal sums compare equal; NaN if the net cannot be built or has no
        attribute `widths`.
    """
    try:
        if (own := own_module(config)) is not None and "net" not in takes(own):
            return None, np.nan
        groups = ("model", "datamodule", *(["task"] if config.get("task") else []))
        return _measured(json.dumps({group: config[group] for group in groups}))
    # A user's module may raise any exception or may no longer exist; the table must still show the other runs.
    except Exception:
        depth = config.get("depth")
        return depth if isinstance(depth, int) else None, np.nan


@lru_cache(maxsize=1024)  # a sweep has many jobs but few architectures
def _measured(groups: str) -> tuple[int, float]:
    config = json.loads(groups)
    with isolate_random_streams():  # the constructor draws weights, which must not advance the caller's generators
        net = construct_net(config, build_datamodule(config))
    widths = getattr(net, "widths", None)
    return len(choose_layers(net).kinds), np.nan if widths is None else round(beta(widths), 9)
