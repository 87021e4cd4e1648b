"""The hash that identifies a run: computed from the settings that determine its result, and from no others."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from start_training.runs.canonical import canonical, without_added
from start_training.runs.moved_targets import current_name

# Version of the hash. Version 1 hashed the config as written, so that 1 and 1.0, or a moved class, gave two hashes.
SCHEME = 2
# Settings that do not change the result: output paths, loggers, figures and hardware.
_WITHOUT_GROUPS = ("hydra", "logger", "paths", "ckpt_path", "figure", "progress", "script", "size", "trial")
_WITHOUT_KEYS = {
    "trainer": ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "default_root_dir"),
    "datamodule": ("data_dir",),
}


def config_hash(config: Mapping[str, Any]) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of the settings that determine the result of a run.

    Args:
        config: resolved and plain.
    """
    text = json.dumps([SCHEME, without_added(canonical(result_settings(config)), "")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that determines the result of a run, without output paths, loggers and hardware."""
    selected = {group: value for group, value in config.items() if group not in _WITHOUT_GROUPS}
    for group, keys in _WITHOUT_KEYS.items():
        if isinstance(selected.get(group), Mapping):
            selected[group] = {key: value for key, value in selected[group].items() if key not in keys}
    return selected


def differing_settings(existing: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the settings by which two configs have different hashes.

    Args:
        existing: the config of an existing run.
        new: the config of the run that is about to start.
    Returns:
        One string per setting, such as "trainer.max_epochs: existing 1, new 2".
    """
    plain = (without_added(canonical(result_settings(config)), "") for config in (existing, new))
    first, second = map(_leaves, plain)
    values = {key: [json.dumps(leaves[key]) if key in leaves else "not set" for leaves in (first, second)]
              for key in [*second, *(key for key in first if key not in second)]}  # fmt: skip
    return [f"{key}: existing {before}, new {after}" for key, (before, after) in values.items() if before != after]


def _leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = current_name(value) if key == "_target_" else value
    return leaves
