"""What a run is, as pairs of a name and a text, and the links to its files."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from start_training.runs.beginning import FOLDERS

GROUPS = {
    "model": "net",
    "initializer": "initializer",
    "readout_initializer": "initializer of the readout",
    "datamodule": "data",
    "optimizer": "optimizer",
    "schedule": "schedule",
}
DOCUMENTS = ("config.yaml", "summary.json", "metrics.csv")


def facts_of(config: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return net, initializer, data, optimizer, schedule, seed, length, overrides, hash, commit and versions of a run.

    Args:
        config: The run's config; it may be empty.
        summary: The run's summary.json; empty for a run that has not ended.

    Example:
        >>> facts_of({"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}, "seed": 0}, {})
        [('optimizer', 'SGD: lr 0.1'), ('seed', '0')]
    """
    facts = [(name, node_text(config[group])) for group, name in GROUPS.items() if config.get(group)]
    if "seed" in config:
        facts.append(("seed", str(config["seed"])))
    length = [f"{summary[name]:g} {name}" for name in ("steps", "epochs", "seconds") if summary.get(name) is not None]
    versions = summary.get("versions") or {}
    texts = {
        "length": ", ".join(length),
        "overrides": " ".join(summary.get("overrides") or ()),
        "config hash": summary.get("config_hash") or "",
        "commit": str(summary.get("commit") or ""),
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
    }
    return facts + [(name, text) for name, text in texts.items() if text]


def node_text(node: Any) -> str:
    """Describe a node of a config: the name of its target, and the settings that are not null.

    Example:
        >>> node_text({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "foreach": None})
        'SGD: lr 0.1'
    """
    if not isinstance(node, Mapping):
        return str(node)
    settings = ", ".join(f"{key} {value}" for key, value in _settings(node))
    return ": ".join(filter(None, [str(node.get("_target_", "")).rpartition(".")[2], settings]))


def _settings(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif value is not None and not key.startswith("_"):
            yield f"{prefix}{key}", value


def files_of_run(directory: Path, folder: Path) -> list[tuple[str, str]]:
    """List the files of a run directory, and its folders of tables.

    Args:
        directory: The run directory.
        folder: The folder of the page.
    Returns:
        The path within the run directory and the address relative to the page, of each.
    """
    paths = [directory / name for name in (*DOCUMENTS, *FOLDERS) if (directory / name).exists()]
    for name in ("figures", "checkpoints"):
        if (directory / name).is_dir():
            paths.remove(directory / name)
            paths += sorted((directory / name).iterdir())
    return [(str(path.relative_to(directory)), address(path, folder)) for path in paths]


def address(path: Path, folder: Path) -> str:
    """Return the address of a file relative to the page in `folder`, in which no name can be read as a protocol.

    Example:
        >>> address(Path("/runs/javascript:a/b c.png"), Path("/runs"))
        './javascript%3Aa/b%20c.png'
    """
    return f"./{quote(os.path.relpath(path.resolve(), folder.resolve()))}"
