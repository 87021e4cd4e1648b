"""Build an object from the `_target_` of a config group, with errors that name the group and the setting."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from hydra.utils import instantiate
from torch import Tensor

from start_training.config.mistakes import check_keys, name_group_in_errors

Config = Mapping[str, Any]


def build(config: Config | None, group: str, /, **arguments: Any) -> Any:
    """Instantiate the `_target_` of one config group.

    Args:
        config: the node of the group; its keys are arguments of the target.
        group: name of the group, for error messages.
        arguments: further arguments of the target, which the config must not hold.
    Raises:
        ValueError: an unknown key, or any error in the call. The message begins with `group.key = value:` if the
            setting can be told.
    """
    check_keys(config, group, arguments)
    with name_group_in_errors(group, config):
        return instantiate(dict(config or {}), _convert_="all", **arguments)


def build_partial(config: Config | None, group: str) -> Callable[..., Any]:
    """Return the `_target_` of a config group as a function of its remaining arguments.

    Errors in the call become ValueErrors that name the group, as in `build`.
    """
    partial = build(config, group, _partial_=True)

    @wraps(partial)
    def call(*arguments: Any, **named: Any) -> Any:
        with name_group_in_errors(group, config):
            return partial(*arguments, **named)

    call.__name__ = config["_target_"] if config else ""
    return call


def forget_objects(module: Any) -> None:
    """Remove from saved hyper-parameters what a checkpoint could not load again, such as nets.

    The run is rebuilt from its config, which holds the settings.

    Args:
        module: A LightningModule or LightningDataModule.
    """
    for hparams in (module._hparams, getattr(module, "_hparams_initial", {})) if hasattr(module, "_hparams") else ():
        for name in [name for name, value in hparams.items() if not _is_plain(value)]:
            del hparams[name]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return type(value) is dict and all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Tensor)
