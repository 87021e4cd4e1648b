"""The identity of a run: a hash of all that determines its result, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Where a run writes, what watches and draws it and what it runs on leave its result alone.
_WITHOUT_GROUPS = ("hydra", "logger", "paths", "ckpt_path", "figure", "progress", "script", "size")
_WITHOUT_KEYS = {
    "trainer": ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "default_root_dir"),
    "datamodule": ("data_dir",),
}


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a resolved, plain config."""
    text = json.dumps(determining(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def determining(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that determines the result."""
    kept = {group: value for group, value in config.items() if group not in _WITHOUT_GROUPS}
    for group, keys in _WITHOUT_KEYS.items():
        if isinstance(kept.get(group), Mapping):
            kept[group] = {key: value for key, value in kept[group].items() if key not in keys}
    return kept
