"""The launcher that groups of replicas are handed to: its config, its number of workers, and their memory."""

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

BASIC = "basic"  # Hydra's own, one job after the other in this process
_SETTINGS = "hydra.launcher.settings."
_OF_A_LAUNCHER = ("hydra/launcher", "hydra.launcher")


def with_inner(config: DictConfig, loader: Any, inner: str, settings: object) -> DictConfig:
    """The multirun's config as if it had been started with another launcher.

    Args:
        config: the multirun's.
        loader: Hydra's config loader.
        inner: the name of the other launcher, as in hydra/launcher=NAME.
        settings: of that launcher, over those of its config.

    Raises:
        ValueError: there is no such launcher or setting, or it cannot train groups.
    """
    typed = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)  # interpolations are for each job
    assert isinstance(typed, list)
    hydra = [override for override in map(str, typed) if not override.lstrip("+~").startswith(_OF_A_LAUNCHER)]
    if not isinstance(inner, str):
        raise ValueError(f"hydra.launcher.inner = {inner}: must be the name of a launcher")
    hydra.append(f"hydra/launcher={inner}")
    try:
        launcher = loader.load_configuration(config.hydra.job.config_name, hydra, RunMode.MULTIRUN).hydra.launcher
    except MissingConfigException as error:
        names = sorted({*(error.options or ())} - {"replicas"})
        raise ValueError(
            f"hydra.launcher.inner = {inner}: no such launcher, or not installed; there are {', '.join(names)}"
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
        raise ValueError(f"hydra.launcher.settings = {settings}: must be settings of the inner launcher, as key: value")
    names = sorted(str(key) for key in launcher if not str(key).startswith("_"))
    for key, value in settings.items():
        if key not in names:
            raise ValueError(f"{_SETTINGS}{key} = {value}: {inner} has {', '.join(names) or 'no settings'}")
        launcher[key] = value


def _check(launcher: Mapping[str, Any], inner: str) -> None:
    if traits_of(launcher).trains_replicas:
        raise ValueError(f"hydra.launcher.inner = {inner}: must be another launcher; null is this process")
    for key in ("nodes", "tasks_per_node"):
        if launcher.get(key, 1) != 1:
            raise ValueError(f"hydra.launcher.inner = {inner}: has {key} = {launcher[key]}; groups train in one")


def workers_of(launcher: Mapping[str, Any]) -> int:
    """How many of its jobs a launcher runs at a time on this machine; 1 where they run elsewhere."""
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
    """Bytes that a group may take, `SHARE` of what its worker has; None where only the worker's machine knows that."""
    traits = traits_of(launcher)
    if traits.remote:
        gigabytes = launcher.get("mem_gb") if accelerator == "cpu" else None
        return int(SHARE * gigabytes * 2**30) if gigabytes else None
    available = available_bytes(accelerator)
    pinned = accelerator != "cpu" and traits.pins_gpus
    sharing = -(-workers // max(1, torch.cuda.device_count())) if pinned else workers
    return int(SHARE * available / sharing) if available is not None else None
