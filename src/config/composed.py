"""What Hydra composes: resolvers that its YAML files use, and the plain data that a job is given."""

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
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from start_training.runs.config_hash import config_hash
from start_training.runs.moved_targets import current_targets
from start_training.settings import one_of, whole_number

CONF = Path(str(files("start_training.conf")))  # the YAML files, in the repository or installed
SIZES = ("full", "small")
FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "cifar-10-batches-py"}  # in DATA_DIR


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved config as dicts, lists, strings, numbers and None."""
    resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    return current_targets({str(key): value for key, value in resolved.items()})


class JobLoader(ConfigLoaderImpl):
    """Hydra's config loader, which composes each job of a multirun once: for its plan, and for its launcher.

    Composing a job takes some 0.07 s, a copy of what was composed 0.003 s. Pickled, as launchers send it to their
    workers, it is Hydra's own loader.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        super().__init__(loader.get_search_path())
        self._hydras = loader
        self._composed: dict[tuple[str, ...], bytes] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        key = (str(OmegaConf.to_container(master_config.hydra.overrides.hydra)), *sweep_overrides)
        if key in self._composed:
            return pickle.loads(self._composed[key])
        job = super().load_sweep_config(master_config, sweep_overrides)
        with suppress(pickle.PicklingError):  # of a class that Hydra has imported twice: the job is composed again
            self._composed[key] = pickle.dumps(job)  # 16 kB; the object itself takes some 300
        return job

    def __reduce__(self) -> tuple[Any, ...]:
        return copy, (self._hydras,)


def composed_job(config: DictConfig, config_loader: Any, overrides: Sequence[str], number: int) -> DictConfig:
    """What a job of the multirun `config` is given, as Hydra's launchers compose it."""
    setup_globals()
    job = config_loader.load_sweep_config(config, list(overrides))
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    HydraConfig.instance().set_config(job)  # for what is interpolated through it
    without_hydra(job)  # a missing value or a broken interpolation raises now
    return job


def without_hydra(config: DictConfig) -> dict[str, Any]:
    """A composed config without Hydra's own node, as plain data."""
    return plain(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))


def check_script(config: Mapping[str, Any], name: str) -> None:
    """Raises ValueError where an experiment is one of another script than `name`."""
    if (script := config.get("script", name)) != name:
        raise ValueError(f"script = {script}: this experiment is one of the command {script}")


def check_depth(config: Mapping[str, Any]) -> None:
    """Raises ValueError for a `depth` that nothing would be built of."""
    choices = HydraConfig.get().runtime.choices
    if config.get("depth") is not None and not (choices.get("family") or choices.get("experiment")):
        raise ValueError(f"depth = {config['depth']}: is that of a family or an experiment; model.depth is the net's")


def register_resolvers() -> None:
    """Register the OmegaConf resolvers that the YAML files of conf/ use; to be called before Hydra composes a config.

    - ${config_hash:} is the hash of the job's config, the same for two jobs only if they are the same job.
      ${config_hash:folder} is the name of the job's directory in that folder, if an earlier version named it otherwise.
    - ${sized:a,b} is b with size=small, and otherwise a, the value in the published experiment.
    - ${mnist_or_digits:a,b} is b with size=small where DATA_DIR has no MNIST, and otherwise a;
      ${fashion_mnist_or_digits:a,b} and ${cifar10_or_digits:a,b} likewise.
    - ${at:position,list} is the entry of a list at the value of the key `position`, for sweeps in which several
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
    """`config_hash` of a composed config, Hydra's own node or not; or its `run_name` in a folder."""
    job = plain(OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key not in ("hydra", "logger")]))
    if folder is None:
        return config_hash(job)
    from start_training.runs.run_name import run_name  # here, so that --help does not wait for pandas

    return run_name(job, Path(folder))


def sized(full: Any, small: Any, *, _root_: DictConfig) -> Any:
    """The value that `size` chooses. Raises ValueError for a size that is neither."""
    return full if one_of("size", _root_.get("size", "full"), SIZES) == "full" else small


def at(key: str, values: Any, *, _root_: DictConfig) -> Any:
    """values[_root_[key]]. Raises ValueError where the list has no such entry."""
    number = whole_number(key, _root_.get(key))
    if number >= len(values):
        raise ValueError(f"{key} = {number}: must be below {len(values)}, the number of values to choose from")
    return values[number]


def _or_digits(folder: str) -> Callable[..., Any]:
    """A resolver: the value for digits in a small experiment without `folder`; else the data's own, which says so."""

    def choose(own: Any, digits: Any, *, _root_: DictConfig) -> Any:
        return own if _in_data_directory(folder) else sized(own, digits, _root_=_root_)

    return choose


def _in_data_directory(name: str) -> bool:
    return Path(os.environ.get("DATA_DIR", "data"), name).is_dir()
