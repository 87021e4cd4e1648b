"""The text of COMMAND --help, from help.yaml beside this file and the YAML files of conf/, without composing a config.

Hydra's own help lists all groups of conf/ for every command, and composes a config for it, which takes longer.
"""

import textwrap
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

WIDTH = 99  # columns of the longest line
CONF = Path(str(files("start_training.conf")))
INSTALLED = {"hydra/launcher": ["basic", "joblib", "submitit_slurm"], "hydra/sweeper": ["basic"]}  # by packages
UNKNOWN = object()  # the value of a key that no file of conf/ has


def command_help(name: str, words: Sequence[str] = ()) -> str:
    """Return the help of a command whose config Hydra composes.

    Args:
        name: the command, which is also the name of its config.
        words: command-line arguments; the options in a directory given by --config-dir are listed, too.
    Returns:
        What the command does, its most important settings with their default values, its groups with their options
        (the default one is marked by *), and examples; lines have at most 99 columns.
    """
    text, primary = texts()[name], _read(CONF / f"{name}.yaml")
    settings = {_assigned(key, default_of(key, primary)): meaning for key, meaning in text["keys"].items()}
    groups = {
        group: ", ".join(f"{option}*" if option == chosen(group, primary) else option for option in options)
        for group, options in options_of_groups(name, [CONF, *_config_directories(words)]).items()
    }
    return "\n".join([
        f"usage: start-training {name} [KEY=VALUE …] [GROUP=OPTION …]", "", text["about"],
        "Settings, with their default values (--cfg job prints all):", *_columns(settings), "",
        "Groups and their options (* is chosen by default):", *_columns(groups), "", examples(name),
    ])  # fmt: skip


def examples(name: str) -> str:
    """Return the examples of a command under their heading; shell quotes are included where bash or zsh needs them."""
    return "\n".join(["Examples:", *(f"  {example}" for example in texts()[name]["examples"])])


def command_parser(name: str, description: str | None) -> ArgumentParser:
    """Return a parser for the arguments of a command without a config; its help ends with the examples."""
    layout = partial(RawDescriptionHelpFormatter, width=WIDTH, max_help_position=28)
    about = textwrap.fill(" ".join((description or "").split()), WIDTH)
    return ArgumentParser(
        prog=f"start-training {name}", description=about, epilog=examples(name), formatter_class=layout
    )


def options_of_groups(name: str, directories: Sequence[Path] = (CONF,)) -> dict[str, list[str]]:
    """Return the options of each group that applies to a command; experiments of other commands are left out."""
    groups = texts()[name]["groups"].items()
    return {group: sorted({*_options(group, allowed, name, directories)}) for group, allowed in groups}


def default_of(key: str, primary: Mapping[str, Any]) -> Any:
    """Return the value of a key in a primary config or in an option that it chooses; `UNKNOWN` if none has the key.

    Example:
        >>> default_of("optimizer.lr", {"defaults": [{"optimizer": "sgd"}, "_self_"]})
        0.01
    """
    value = _value(primary, key)
    for group, option in _choices(primary) if value is UNKNOWN else ():
        folder, _, package = group.partition("@")
        prefix = f"{package or folder.replace('/', '.')}."
        if option and key.startswith(prefix):
            value = _value_of_option(CONF / folder / f"{option}.yaml", key.removeprefix(prefix))
    return value


def chosen(group: str, primary: Mapping[str, Any]) -> str | None:
    """Return the option of a group that a primary config chooses, or None."""
    return dict(_choices(primary)).get(group)


@cache
def texts() -> dict[str, Any]:
    """Return the content of help.yaml."""
    return _read(Path(__file__).with_name("help.yaml"))


def _read(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def _choices(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for entry in config.get("defaults", ()):
        if isinstance(entry, dict):
            for group, option in entry.items():
                yield group.removeprefix("override "), option


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return UNKNOWN
        value = value[name]
    return value


def _value_of_option(path: Path, key: str) -> Any:
    config = _read(path)
    value = _value(config, key)
    for base in [entry for entry in config.get("defaults", ()) if isinstance(entry, str) and entry != "_self_"]:
        value = _value_of_option(path.with_name(f"{base}.yaml"), key) if value is UNKNOWN else value
    return value


def _assigned(key: str, value: Any) -> str:
    """Return KEY=VALUE as it could be typed; a value that depends on other keys is left out as …."""
    if value is None or isinstance(value, bool):
        text = "null" if value is None else str(value).lower()
    elif isinstance(value, Mapping) or value is UNKNOWN or "${" in str(value):
        text = "…"
    elif isinstance(value, list):
        text = str(value).replace("'", "").replace(" ", "")
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{key}={text}"


def _columns(rows: Mapping[str, str]) -> list[str]:
    """Format names and texts in two columns."""
    indent = min(max(map(len, rows)), 36) + 4
    lines = []
    for name, text in rows.items():
        first, *more = textwrap.wrap(text, WIDTH - indent, break_on_hyphens=False) or [""]
        lines.append(f"  {name:{indent - 2}}{first}".rstrip())
        lines += [" " * indent + line for line in more]
    return lines


def _options(group: str, allowed: Sequence[str] | None, name: str, directories: Sequence[Path]) -> Iterator[str]:
    yield from allowed if allowed else INSTALLED.get(group, ())
    for directory in directories[1:] if allowed else directories:
        folder = directory / group.partition("@")[0]
        for path in folder.rglob("*.yaml"):
            if group != "experiment" or _read(path).get("script", name) == name:
                yield path.relative_to(folder).with_suffix("").as_posix()


def _config_directories(words: Sequence[str]) -> Iterator[Path]:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, _, value = word.partition("=")
        if flag in ("--config-dir", "-cd") and (value or following):
            yield Path(value or following)
