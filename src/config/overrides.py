"""Checks of command-line overrides before Hydra composes a config, where Hydra's errors would not name the setting."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from omegaconf import DictConfig

from start_training.config.composed import CONF

NONE = ("none", "same")  # options that stand for no choice of a group


def loader_of(directories: Iterable[str] = ()) -> ConfigLoaderImpl:
    """Return a loader that finds the groups of conf/ and of the user's config directories."""
    path = create_config_search_path(str(CONF))
    for directory in directories:
        path.append(provider="command-line", path=directory)
    return ConfigLoaderImpl(path)


def check_overrides(words: Sequence[str], loader: ConfigLoader) -> None:
    """Check the values of config groups, and that each sweep over values has a value.

    Args:
        words: overrides such as "optimizer=adam", "seed=range(5)" or "~callbacks".
        loader: finds the groups and their options.
    Raises:
        ValueError: a group is set to something other than a name, a list of names, or settings to change in braces; or
            a sweep has no values. Whether an option of this name exists, Hydra knows.
        OverrideParseException: a word is not an override.
    """
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(words)):
        if override.is_delete() or (override.value() is None and "=" not in str(override.input_line)):
            continue
        if override.is_discrete_sweep() and not any(True for _ in override.sweep_string_iterator()):
            name, value = _name(override), override.get_value_string()
            raise ValueError(f"{name} = {value}: has no values, so that the sweep would have no jobs; must have some")
        if override.key_or_group in ("hydra.launcher", "hydra.sweeper") and not isinstance(override.value(), dict):
            group = override.key_or_group.replace(".", "/")
            raise ValueError(f"{override.input_line}: must be chosen as a group, {group}=…, or set by its keys")
        if override.key_or_group in ("", "hydra"):
            raise ValueError(f"{override.input_line}: must be the name of a setting, as hydra.run.dir, and its value")
        if is_group(override.key_or_group, loader):
            _check_group(override, loader)


def options_of(group: str, loader: ConfigLoader) -> list[str]:
    """Return the names of all options of a group, those in its subdirectories included, such as "zhang/slope"."""
    inner = [
        f"{folder}/{option}"
        for folder in loader.get_group_options(group, ObjectType.GROUP)
        for option in options_of(f"{group}/{folder}", loader)
    ]
    return sorted([*loader.get_group_options(group), *inner])


def options_with(key: str, loader: ConfigLoaderImpl) -> list[str]:
    """Return the options whose file has a setting, such as "convolutional" for "model.channels"."""
    group, _, inner = key.partition(".")
    if not inner or not is_group(group, loader):
        return []
    files = {option: loader.repository.load_config(f"{group}/{option}") for option in options_of(group, loader)}
    return [option for option, file in files.items() if file and inner in _keys(file.config)]


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of all settings of a config, such as "lengths.every"."""
    for key in map(str, node) if isinstance(node, DictConfig) else ():
        yield f"{prefix}{key}"
        yield from _keys(node._get_node(key), f"{prefix}{key}.")


def is_group(name: str, loader: ConfigLoader) -> bool:
    """Return whether `name` is a group, which has options, rather than a setting."""
    return name not in ("", "hydra") and any(loader.get_group_options(name, kind) for kind in ObjectType)


def _check_group(override: Override, loader: ConfigLoader) -> None:
    for value in _values(override):
        named = [name.text if isinstance(name, QuotedString) else name for name in _listed(value)]
        if isinstance(value, dict) and value:
            continue  # settings of the group, which Hydra merges into its config
        if not named or not all(isinstance(name, str) and name for name in named):
            options = options_of(override.key_or_group, loader)
            raise ValueError(no_such_option(_name(override), _text(override, value), options))


def no_such_option(group: str, value: str, options: Sequence[str]) -> str:
    """Return the error message for a group whose value is not one of its options."""
    hint = next((f"; type {group}={option} for none" for option in NONE if option in options), "")
    return f"{group} = {value}: no such option; must be one of {', '.join(options)}{hint}"


def _values(override: Override) -> Iterator[Any]:
    """Yield the value of an override, or the values of a sweep over several."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        yield from value.list
    elif override.is_sweep_override():
        yield from override.sweep_iterator()
    else:
        yield value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if isinstance(value, dict) else [value]


def _name(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _text(override: Override, value: Any) -> str:
    if not override.is_sweep_override():
        return override.get_value_string() or "''"
    return "null" if value is None else str(value)
