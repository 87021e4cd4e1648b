"""The inner launcher, which runs the groups of the replicas launcher: its config, number of workers and memory."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from start_training.launchers.traits import traits_of
from start_training.replicas.memory import SHARE, available_bytes
from start_training.settings import positive_integer

BASIC = "basic"  # Hydra's default launcher, which runs one job after the other in this process
_SETTINGS = "hydra.launcher.settings."
_LAUNCHER_KEYS = ("hydra/launcher", "hydra.launcher")
_COMPOSED_KEYS = ("hydra/launcher=", "hydra.searchpath=")  # what decides the config of a launcher


def with_inner(config: DictConfig, loader: Any, inner: str, settings: object) -> DictConfig:
    """Return a copy of a multirun's config in which the launcher is replaced by another one.

    Args:
        config: the config of the multirun.
        loader: Hydra's config loader.
        inner: the name of the new launcher, as in hydra/launcher=NAME.
        settings: settings of the new launcher that override its config.

    Raises:
        ValueError: the launcher or a setting does not exist, or the launcher cannot train groups.
    """
    overrides = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)  # jobs resolve interpolations
    assert isinstance(overrides, list)
    hydra = [override for override in map(str, overrides) if not override.lstrip("+~").startswith(_LAUNCHER_KEYS)]
    if not isinstance(inner, str):
        raise ValueError(f"hydra.launcher.inner = {inner}: must be the name of a launcher")
    hydra.append(f"hydra/launcher={inner}")
    # Without the task's overrides, such as experiment=…, keys that only these add, as to hydra.sweeper, do not exist.
    composed = [override for override in hydra if override.lstrip("+~").startswith(_COMPOSED_KEYS)]
    try:
        launcher = loader.load_configuration(config.hydra.job.config_name, composed, RunMode.MULTIRUN).hydra.launcher
    except MissingConfigException as error:
        names = sorted({*(error.options or ())} - {"replicas"})
        raise ValueError(
            f"hydra.launcher.inner = {inner}: no such launcher, or not installed; must be one of {', '.join(names)}"
        ) from None
    copy = config.copy()
    with open_dict(copy):
        copy.hydra.launcher = launcher
        copy.hydra.overrides.hydra = hydra
        copy.hydra.runtime.choices["hydra/launcher"] = inner
        _set(copy.hydra.launcher, settings, inner)
    _check(copy.hydra.launcher, inner)
    return copy


def _set(launcher: DictConfig, settings: object, inner: str) -> None:
    if not isinstance(settings, Mapping):
        raise ValueError(f"hydra.launcher.settings = {settings}: must be settings of the inner launcher as key: value")
    names = sorted(str(key) for key in launcher if not str(key).startswith("_"))
    for key, value in settings.items():
        if key not in names:
            raise ValueError(
                f"{_SETTINGS}{key} = {value}: no such setting of hydra/launcher={inner}; "
                f"must be one of {', '.join(names) or 'none'}"
            )
        launcher[key] = value


def _check(launcher: Mapping[str, Any], inner: str) -> None:
    if traits_of(launcher).trains_replicas:
        raise ValueError(
            f"hydra.launcher.inner = {inner}: must be a launcher that does not train replicas itself, "
            "or null to train groups in this process"
        )
    for key in ("nodes", "tasks_per_node"):
        if launcher.get(key, 1) != 1:
            raise ValueError(
                f"hydra.launcher.inner = {inner}: its setting {key} is {launcher[key]}, but a group trains in one "
                f"process; set +{_SETTINGS}{key}=1"
            )


def workers_of(launcher: Mapping[str, Any]) -> int:
    """Return how many jobs a launcher runs at a time on this machine; 1 if it runs jobs on other machines.

    Args:
        launcher: the config node `hydra.launcher`.
    """
    traits = traits_of(launcher)
    if traits.jobs_setting is None:
        return 1
    jobs = launcher.get(traits.jobs_setting)
    if jobs is None:
        return max(1, torch.cuda.device_count())
    if traits.counts_cores and jobs < 0:
        return max(1, (os.cpu_count() or 1) + 1 + jobs)
    return positive_integer(_SETTINGS + traits.jobs_setting, jobs)


def memory_limit(launcher: Mapping[str, Any], accelerator: str, workers: int) -> int | None:
    """Return the bytes that a group may allocate: the share `SHARE` of the memory of its worker.

    Args:
        launcher: the config node `hydra.launcher` of the inner launcher.
        accelerator: the setting trainer.accelerator.
        workers: how many workers share this machine.
    Returns:
        Bytes, or None if the memory of the worker is not known on this machine.
    """
    traits = traits_of(launcher)
    if traits.remote:
        gigabytes = launcher.get("mem_gb") if accelerator == "cpu" else None
        return int(SHARE * gigabytes * 2**30) if gigabytes else None
    available = available_bytes(accelerator)
    pinned = accelerator != "cpu" and traits.pins_gpus
    sharing = -(-workers // max(1, torch.cuda.device_count())) if pinned else workers
    return int(SHARE * available / sharing) if available is not None else None
