"""The identity of a run: a hash of all that determines its result, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from start_training.runs.canonical import canonical, without_added
from start_training.runs.moved_targets import current_name

SCHEME = 2  # 1 was of the config as it was written: 1 and 1.0, or a class that had moved, made two runs of one
# Where a run writes, what watches and draws it and what it runs on leave its result alone.
_WITHOUT_GROUPS = ("hydra", "logger", "paths", "ckpt_path", "figure", "progress", "script", "size")
_WITHOUT_KEYS = {
    "trainer": ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "default_root_dir"),
    "datamodule": ("data_dir",),
}


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a resolved, plain config, of what determines the result in it."""
    text = json.dumps([SCHEME, without_added(canonical(determining(config)), "")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def determining(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that determines the result."""
    kept = {group: value for group, value in config.items() if group not in _WITHOUT_GROUPS}
    for group, keys in _WITHOUT_KEYS.items():
        if isinstance(kept.get(group), Mapping):
            kept[group] = {key: value for key, value in kept[group].items() if key not in keys}
    return kept


def differing_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What tells two configs apart, each as `key: value there, value here`."""
    one, other = (_leaves(canonical(determining(config))) for config in (there, here))
    values = {key: [json.dumps(leaves[key]) if key in leaves else "not set" for leaves in (one, other)]
              for key in [*other, *(key for key in one if key not in other)]}  # fmt: skip
    return [f"{key}: {before} there, {now} here" for key, (before, now) in values.items() if before != now]


def _leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = current_name(value) if key == "_target_" else value
    return leaves
