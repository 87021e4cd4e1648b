"""What the config of a run directory may name without being asked, since the directory may be a stranger's.

A config names classes and functions, which are imported and called when the net of a run is rebuilt: a directory whose
config names `pandas.read_pickle` would run the code in a pickle. Names are checked before anything is imported.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml
from torch.nn.modules.loss import _Loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.runs.moved_targets import MOVED

PACKAGE = "start_training"
# Folders of this package whose classes may be named: their constructors compute, and write no files.
FOLDERS = (
    *("theory", "lengths", "tasks", "datamodules", "initializers", "models"),
    *("ensembles", "order_chaos", "schedules", "callbacks"),
)
# Keys whose value is imported: `activation` is a parameter of `Critical` and `Phase`, which `_args_` may hold, too.
_NAMING = ("_target_", "activation", "_args_")
_OF_TORCH: dict[str, Any] = {"torch.optim": (Optimizer, LRScheduler), "torch.nn": _Loss}  # and their subclasses
LARGEST, DEEPEST = 100_000, 40  # a few lines of YAML can stand for a config that fills the memory
SHOWN = 100  # characters of a name in a message


class Untrusted(ValueError):
    """Raised when the config of a run directory names something that must not be imported without being asked."""


def check_packages(packages: Collection[str]) -> None:
    """Raise ValueError if an entry of `packages`, given by --trust, is not the dotted name of a package."""
    for name in packages:
        if not _is_dotted(name):
            raise ValueError(f"--trust = {name}: must be the name of a package, as in --trust my_nets")


def check_trusted(config: Mapping[str, Any], source: object, trust: Collection[str] = ()) -> None:
    """Raise an error unless all names in a run's config may be imported and called.

    Allowed are the `_target_`s of the YAML files in conf/, classes of this package in `FOLDERS`, and torch's
    optimizers, learning-rate schedulers and losses; all other names must be in a trusted package.

    Args:
        config: plain data read from a file.
        source: path of the file, for the error message.
        trust: trusted packages, modules, classes or functions, by their dotted names.
    Raises:
        Untrusted: another name, or an interpolation, from which Hydra could make a name later.
    """
    for key, value in _leaves(config, source):
        if isinstance(value, str) and "${" in value:
            raise Untrusted(f"{_shown(key)} = {_shown(value)}: must be a value, not an interpolation, in {source}")
    for key, name in untrusted(config, trust):
        raise Untrusted(f"{_shown(key)} = {_shown(name)}: {_cure(name, source)}")


def untrusted(config: Mapping[str, Any], trust: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return the dotted key and the name of everything in a config that may not be imported.

    Args:
        config: plain data.
        trust: see `check_trusted`.
    """
    return [(key, name) for key, name in _named(config) if not (within(name, trust) or is_allowed(name))]


def names_in(config: Mapping[str, Any]) -> frozenset[str]:
    """Return all names in a config; those in the config of a user's own command need not be asked for."""
    return frozenset(name for _, name in _named(config))


def check_plain(config: Mapping[str, Any], source: object) -> None:
    """Raise ValueError unless a config is plain data of reasonable size; the message begins with `source`."""
    for _ in _leaves(config, source):
        pass


def within(name: str, trust: Collection[str]) -> bool:
    """Return whether `name` is one of the names in `trust`, or belongs to a package, module or class among them."""
    return any(name == trusted or name.startswith(f"{trusted}.") for trusted in trust)


@cache
def is_allowed(name: str) -> bool:
    """Return whether a name may be imported and called without being asked, whoever wrote it.

    It is decided by the object itself, so that no alias of another object passes (`start_training.models.lenet.nn`).
    Nothing is imported but modules of this package and of torch.
    """
    name = MOVED.get(name, name)
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    of_torch = _OF_TORCH.get(".".join(parts[:2]))
    if name in shipped_targets():
        return True
    if not _is_dotted(name) or not (of_torch or _is_folder(parts)):
        return False
    try:
        named = getattr(import_module(module), attribute, None)
    except ImportError:
        return False
    if not isinstance(named, type):
        return False
    return issubclass(named, of_torch) if of_torch else _is_folder(named.__module__.split("."))


@cache
def shipped_targets() -> frozenset[str]:
    """Return the names in the YAML files of conf/."""
    texts = (file.read_text() for file in _yaml_files(files(f"{PACKAGE}.conf")))
    return frozenset(
        name for text in texts for _, name in _named(yaml.safe_load(text)) if "$" not in name and name != "???"
    )


def _yaml_files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _yaml_files(entry)
        elif entry.name.endswith(".yaml"):
            yield entry


def _named(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the value of everything that names what is to be imported."""
    for key, value in _leaves(config, "config"):
        word = next((word for word in reversed(key.split(".")) if not word.isdecimal()), "")
        if word in _NAMING and isinstance(value, str) and (word == "_target_" or "." in value):
            yield key, value


def _leaves(config: Any, source: object) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf, in order; entries of lists have their number as key."""
    count, remaining = 0, [("", config, 0)]
    while remaining:  # no recursion: an alias in YAML can make a list hold itself
        key, value, depth = remaining.pop()
        count += 1
        if count > LARGEST or depth > DEEPEST:
            raise ValueError(f"{source} is not the config of a run (it is too large, or nested too deep)")
        if isinstance(value, dict | list):
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            nested = [(f"{key}.{name}" if key else str(name), entry, depth + 1) for name, entry in entries]
            remaining += reversed(nested)
        elif value is None or isinstance(value, str | bool | int | float):
            yield key, value
        else:
            raise ValueError(f"{source} is not the config of a run ({_shown(key)} = {_shown(repr(value))})")


def _cure(name: str, source: object) -> str:
    if not _is_dotted(name):
        return f"must be package.module.name of a class or function, in {source}"
    return (
        f"not imported, since {source} may be a stranger's; only if you trust its author, "
        f"type --trust {name.partition('.')[0]}"
    )


def _is_folder(parts: Sequence[str]) -> bool:
    """Return whether a module, given by the parts of its name, is this package itself or in one of its `FOLDERS`."""
    return parts[0] == PACKAGE and (len(parts) == 1 or parts[1] in FOLDERS)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _shown(text: str) -> str:
    """A stranger's text, cut, and without line breaks or codes that a terminal would obey."""
    return text[:SHOWN] if text[:SHOWN].isprintable() else ascii(text[:SHOWN])
