"""The config that a run has saved in its directory, which may be a stranger's: nothing that it names is imported."""

from collections.abc import Mapping
from typing import Any

from start_training.runs.config_hash import config_hash, differing_settings
from start_training.runs.trust import names_in, untrusted


def differences(existing: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Return the settings by which the run in a directory differs from that of a command; [] if they are the same run.

    Args:
        existing: the config in the directory. What it names is imported, to compare numbers, only if `own` names it.
        own: the config of the command.
    """
    if strange := untrusted(existing, names_in(own)):
        return [f"{key}: existing {name!r}" for key, name in strange]
    if config_hash(existing) == config_hash(own):
        return []
    return differing_settings(existing, own) or ["config_hash"]
