"""Configs composed by Hydra: the resolvers of the YAML files, the config of each job, and its conversion to dicts."""

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from start_training.runs.config_hash import config_hash
from start_training.runs.moved_targets import current_targets
from start_training.settings import one_of, whole_number

CONF = Path(str(files("start_training.conf")))  # directory of the YAML files, in the repository or installed
SIZES = ("full", "small")
_SUBDIR = "hydra.sweep.subdir="
# Data set: its subdirectory of DATA_DIR.
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "cifar-10-batches-py"}


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the resolved config as dicts, lists, strings, numbers and None, with current names of moved targets."""
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return current_targets({str(key): value for key, value in resolved.items()})


class JobLoader(ConfigLoaderImpl):
    """Hydra's config loader with a cache, so that each job of a multirun is composed only once.

    Planning and launching both load the config of each job. Composing a job takes about 0.07 s, a copy from the cache
    0.003 s. Pickling, as launchers do for their workers, gives Hydra's loader without the cache.

    Args:
        loader: Hydra's config loader.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        super().__init__(loader.get_search_path())
        self._loader = loader
        self._composed: dict[tuple[str, ...], bytes] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        directories = [word for word in sweep_overrides if word.startswith(_SUBDIR)]
        job = self._load(master_config, [word for word in sweep_overrides if not word.startswith(_SUBDIR)])
        if directories:
            with open_dict(job):
                job.hydra.sweep.subdir = OverridesParser.create().parse_override(directories[-1]).value()
        return job

    def _load(self, master_config: DictConfig, overrides: list[str]) -> DictConfig:
        key = (str(OmegaConf.to_container(master_config.hydra.overrides.hydra)), *overrides)
        if key in self._composed:
            job = pickle.loads(self._composed[key])
            OmegaConf.copy_cache(from_config=master_config, to_config=job)  # one time `now` for all jobs, as Hydra does
            return job
        job = super().load_sweep_config(master_config, overrides)
        with suppress(pickle.PicklingError):  # holds a class that Hydra has imported twice; not cached then
            self._composed[key] = pickle.dumps(job)  # takes 16 kB, the object about 300 kB
        return job

    def __reduce__(self) -> tuple[Any, ...]:
        return copy, (self._loader,)


def in_directory(directory: str) -> str:
    """Return the override that places a job of a multirun in a directory, relative to that of the sweep.

    Example:
        >>> in_directory("lr=0.1,0.2")
        "hydra.sweep.subdir='lr=0.1,0.2'"
    """
    return _SUBDIR + QuotedString(text=directory, quote=Quote.single).with_quotes()


def compose_job(config: DictConfig, config_loader: Any, overrides: Sequence[str], number: int) -> DictConfig:
    """Compose the config of one job of a multirun, as Hydra's launchers do.

    Args:
        config: the config of the multirun.
        config_loader: Hydra's config loader.
        overrides: the overrides of the job.
        number: the number of the job in the multirun, from 0.
    Returns:
        The config of the job, including the node `hydra`; interpolations are not yet resolved.
    Raises:
        OmegaConfBaseException: a value is missing, or an interpolation cannot be resolved.
    """
    setup_globals()
    job = config_loader.load_sweep_config(config, list(overrides))
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    HydraConfig.instance().set_config(job)  # the resolver ${hydra:…} reads it
    without_hydra(job)  # raises if a value is missing or an interpolation is broken
    return job


def without_hydra(config: DictConfig) -> dict[str, Any]:
    """Return a composed config as plain data, without the node `hydra`."""
    return plain(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))


def check_script(config: Mapping[str, Any], name: str) -> None:
    """Raise ValueError if the experiment of the config belongs to another command than `name`."""
    if (script := config.get("script", name)) != name:
        raise ValueError(f"script = {script}: this experiment runs with the command {script}, not with {name}")


def register_resolvers() -> None:
    """Register the OmegaConf resolvers that the YAML files of conf/ use. Call it before Hydra composes a config.

    - ${config_hash:} is the hash of the job's config; two jobs have the same hash only if they are the same run.
      ${config_hash:folder} is the name of the job's directory in that folder, which is the hash, or the name that an
      earlier version gave to an existing directory of the same run.
    - ${sized:a,b} is b with size=small and a with size=full; a is the value of the published experiment.
    - ${mnist_or_digits:a,b} is b if size=small and DATA_DIR has no MNIST, otherwise a;
      ${fashion_mnist_or_digits:a,b} and ${cifar10_or_digits:a,b} likewise.
    - ${at:position,list} is the entry of a list at the index given by the key `position`, for sweeps in which several
      settings change together.

    Example:
        >>> register_resolvers()
        >>> OmegaConf.create({"size": "small", "depth": "${sized:50,20}"}).depth
        20
    """
    OmegaConf.register_new_resolver("config_hash", config_hash_of, replace=True)
    OmegaConf.register_new_resolver("sized", sized, replace=True)
    OmegaConf.register_new_resolver("at", at, replace=True)
    for name, folder in FOLDERS.items():
        OmegaConf.register_new_resolver(f"{name}_or_digits", _or_digits(folder), replace=True)


def config_hash_of(folder: str | None = None, *, _root_: DictConfig) -> str:
    """Return the hash of a composed config, or the name of its run directory in `folder` if that is given.

    The nodes `hydra` and `logger` are ignored.
    """
    job = plain(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key not in ("hydra", "logger")]))
    if folder is None:
        return config_hash(job)
    from start_training.runs.run_name import run_name  # imported late: --help needs no pandas

    return run_name(job, Path(folder))


def sized(full: Any, small: Any, *, _root_: DictConfig) -> Any:
    """Return `full` or `small`, whichever the config's key `size` names. Raise ValueError for any other size."""
    return full if one_of("size", _root_.get("size", "full"), SIZES) == "full" else small


def at(key: str, values: Any, *, _root_: DictConfig) -> Any:
    """Return the entry of `values` whose index is the config's `key`. Raise ValueError if the index is too large."""
    number = whole_number(key, _root_.get(key))
    if number >= len(values):
        raise ValueError(f"{key} = {number}: must be below {len(values)}, the number of values")
    return values[number]


def _or_digits(folder: str) -> Callable[..., Any]:
    """Return a resolver that chooses its second value if size=small and DATA_DIR lacks `folder`, else its first."""

    def choose(published: Any, digits: Any, *, _root_: DictConfig) -> Any:
        return published if _in_data_directory(folder) else sized(published, digits, _root_=_root_)

    return choose


def _in_data_directory(name: str) -> bool:
    return Path(os.environ.get("DATA_DIR", "data"), name).is_dir()
