"""Checks of the settings beside the groups, which several commands share, and of typed settings without effect."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from omegaconf import DictConfig, OmegaConf

from start_training.config.build import PASSED_TO_DATA, takes_setting
from start_training.config.build_object import build_partial
from start_training.config.build_task import own_module, takes
from start_training.config.composed import SIZES
from start_training.config.mistakes import target_of
from start_training.settings import OneOf, PositiveInteger, Seed, checked, settings_from

UNUSED = "unused_settings"  # name of the method by which a target says which of its settings have no effect


def file_path(name: str, value: object) -> str:
    """Constraint for the path of a file: text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} = {value!r}: must be the path of a file, or null for none")
    return value


def metric_name(name: str, value: object) -> str:
    """Constraint for the name of a metric: text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} = {value!r}: must be the name of a logged metric, such as val/loss")
    return value


def figure_node(name: str, value: object) -> Mapping[str, Any]:
    """Constraint for the figure: a mapping with `_target_` and settings that it has."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} = {value!r}: must be a mapping with _target_ and its settings, or null for none")
    build_partial(value, name)
    return value


@checked
@dataclass(frozen=True)
class TopLevel:
    """The settings beside the groups; a command has some of them."""

    seed: Seed = 0
    depth: PositiveInteger | None = None
    compile: bool = False
    monitor: Annotated[str, metric_name] = "val/loss"
    mode: Annotated[str, OneOf(("min", "max"))] | None = None
    progress: bool = True
    size: Annotated[str, OneOf(SIZES)] = "full"
    trial: str | bool | int | None = None
    ckpt_path: Annotated[str, file_path] | None = None
    figure: Annotated[Mapping[str, Any], figure_node] | None = None


def check_top_level(config: Mapping[str, Any]) -> TopLevel:
    """Raise ValueError if a setting beside the groups has a value that is not allowed; return these settings."""
    return settings_from(TopLevel, config)


def check_effects(config: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError if an override has no effect, because the config uses no or another setting instead.

    `depth` and `size` need a family, an experiment or a group that refers to them. Of the settings of a group, the
    target of the group says which have no effect: its static method `unused_settings` gets the settings and returns
    the reasons by name.

    Args:
        config: config of a job before its interpolations are resolved.
        overrides: the overrides that were typed.
    """
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    typed = _typed(overrides)
    _check_depth(config, typed)
    if "size" in typed and not _refers(config, r"(sized|_or_digits):"):
        raise ValueError(f"size = {typed['size']}: has no effect; must only be set with experiment=…")
    for key, value in typed.items():
        if value == "{}" and OmegaConf.select(config, key):
            raise ValueError(f"{key} = {{}}: has no effect; must be changed by its keys, as {key}.NAME=…")
    _check_momentum(plain, typed)
    _check_passed(plain, typed)
    for group, node in _nodes(plain):
        if node["_target_"]:
            check_unused(target_of(node, group), node, overrides, prefix=f"{group}.")


def check_unused(target: Any, settings: Mapping[str, Any], overrides: Sequence[str], *, prefix: str = "") -> None:
    """Raise ValueError if an override sets what a class declares unused with these settings.

    Args:
        target: a class, whose static method `unused_settings`, if it has one, returns the reasons by name.
        settings: the settings of the class.
        overrides: the overrides that were typed.
        prefix: what the names of the settings begin with, as "model.".
    """
    typed, unused = _typed(overrides), getattr(target, UNUSED, None)
    for name, reason in (unused(settings) if unused else {}).items():
        if (key := f"{prefix}{name}") in typed:
            raise ValueError(f"{key} = {typed[key]}: has no effect {reason}; must be left out")


def _typed(overrides: Sequence[str]) -> dict[str, str]:
    return dict(word.lstrip("+").partition("=")[::2] for word in overrides if "=" in word)


def _check_depth(config: DictConfig, typed: Mapping[str, str]) -> None:
    used = _refers(config, r"(?<![\w.])depth(?![\w.])")
    if "depth" in typed and typed["depth"] != "null" and not used:
        raise ValueError(
            f"depth = {typed['depth']}: only used with family=… or experiment=…; for one net set "
            f"model.depth={typed['depth']}"
        )
    if used and "depth" in config and config["depth"] is None:
        raise ValueError("depth = null: must be a whole number of at least 1, the depth of the family; type depth=20")


def _check_momentum(config: Mapping[str, Any], typed: Mapping[str, str]) -> None:
    """Raise ValueError for a momentum of the optimizer that the schedule replaces in each step."""
    momenta, schedule = (config.get("schedule") or {}).get("momentum"), (config.get("schedule") or {}).get("_target_")
    momentum = (config.get("optimizer") or {}).get("momentum")
    if "optimizer.momentum" in typed and isinstance(momenta, list) and schedule and momentum not in momenta:
        raise ValueError(
            f"optimizer.momentum = {momentum}: has no effect with schedule.momentum = {momenta}; must be left out, or "
            "schedule.momentum=null"
        )


def _check_passed(config: Mapping[str, Any], typed: Mapping[str, str]) -> None:
    """Raise ValueError for a setting of a group that a datamodule or LightningModule of the user's does not take."""
    data = config.get("datamodule")
    data = data if isinstance(data, Mapping) and data.get("_target_") else {}
    for name in PASSED_TO_DATA if data else ():
        key = f"datamodule.{name}"
        if key in typed and not takes_setting(target_of(data, "datamodule"), name):
            raise ValueError(f"{key} = {typed[key]}: is no setting of {data['_target_']}; must be left out")
    if not (config.get("task") or {}).get("_target_") or (module := own_module(config)) is None:
        return
    for group, argument in (("model", "net"), ("optimizer", "optimizer"), ("schedule", "schedule")):
        for key in typed if argument not in takes(module) else ():
            if key.split(".")[0] == group:
                raise ValueError(
                    f"{key} = {typed[key]}: has no effect, since the constructor of {module.__name__} takes no "
                    f"{argument}; must be left out"
                )


def _refers(config: DictConfig, pattern: str) -> bool:
    """Return whether an interpolation of the config contains the pattern."""
    text = str(OmegaConf.to_container(config, resolve=False))
    return any(re.search(pattern, match) for match in re.findall(r"\$\{[^']*", text))


def _nodes(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    """Return the nodes with a `_target_` by their names, nodes inside others included."""
    nodes = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            nodes += [(f"{prefix}{key}", value)] if "_target_" in value else []
            nodes += _nodes(value, f"{prefix}{key}.")
    return nodes
