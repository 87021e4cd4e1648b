"""The config that a run has saved in its directory, which may be a stranger's: nothing that it names is imported."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from start_training.runs.config_hash import config_hash, differing_settings
from start_training.runs.moved_targets import current_targets
from start_training.runs.trust import check_plain, names_in, untrusted, within

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's loader, if available, is ten times as fast


def read_config(file: Path, name: str, trust: Collection[str] = ()) -> dict[str, Any]:
    """Read a run's config.yaml, with current names of moved targets.

    Args:
        file: path of the file.
        name: setting and value that gave its directory, for error messages.
        trust: names that may be imported to find out whether they belong to a package of the user.
    Raises:
        ValueError: there is no such file, or it is not the config of a run.
    """
    if not file.is_file():
        raise ValueError(f"{name}: not a run directory (it has no {file.name})")
    try:
        config = yaml.load(file.read_text(), _LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{name}: its {file.name} is damaged ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{name}: its {file.name} is not the config of a run")
    check_plain(config, f"{name}: its {file.name}")
    return current_targets(config, lambda target: within(target, trust))


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
