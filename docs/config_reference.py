"""Reference pages of the configuration, which mkdocs fills in from conf/ when it builds the site (hook of mkdocs.yml).

A page asks for a table by a comment such as `<!-- generated: groups -->`. The default of a key is what stands in its
YAML file, its type the annotation of the argument that gets it, and its meaning the comment in the YAML file or else
what the docstring of the target says.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from config_words import documented, hints_of, import_target, inner_hints, plain, type_in_words

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("task", "model", "initializer", "readout_initializer", "datamodule", "optimizer", "schedule", "callbacks",
          "trainer", "logger", "search", "family", "hydra/launcher", "hydra/sweeper")  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A setting: its name on the command line, and what the reference says of it."""

    name: str
    type: str
    default: str
    meaning: str


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the comments `<!-- generated: NAME -->` of a page (called by mkdocs for each page)."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda match: GENERATED[match[1]](), markdown)


def commands() -> str:
    """A section for each command with a config: its groups, and its keys beside those of the groups."""
    from start_training.cli.commands import COMMANDS

    parts = []
    for command in COMMANDS:
        if (file := CONF / f"{command}.yaml").is_file():
            parts += [f"## {command}", COMMANDS[command].line, _groups_of(file), _table(command_keys(file))]
    return "\n\n".join(parts)


def _groups_of(file: Path) -> str:
    """The groups of a command, with the options that it chooses."""
    entries = [item for entry in _load(file)["defaults"] if isinstance(entry, dict) for item in entry.items()]
    none = {"readout_initializer": "same", "optimizer": "null"}  # what choosing nothing is called
    chosen = [
        f"`{group}={option or none.get(group, 'none')}`"
        for group, option in entries
        if not group.startswith("override hydra")
    ]
    return f"Groups, with their defaults: {', '.join(chosen)}."


def groups() -> str:
    """A section for each group, and in it one for each option."""
    parts = []
    for group in GROUPS:
        parts += [f"## {group}"]
        for file in sorted((CONF / group).glob("*.yaml")):
            parts += [f"### {group}={file.stem}", header(file), *_table_of(option_keys(group, file))]
    return "\n\n".join(parts)


def experiments() -> str:
    """A section for each experiment: what its file states, and what it sets."""
    parts = []
    for file in sorted((CONF / "experiment").rglob("*.yaml")):
        name = file.relative_to(CONF / "experiment").with_suffix("")
        facts = re.split(r"(?<=\S) (?=(?:Claim|Source|Command|Takes|Expected): )", header(file))
        stated = [re.sub(r"^(\w+): ", r"**\1.** ", fact) for fact in facts]
        settings = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        parts += [f"## {name}", *stated, "```yaml\n" + "\n".join(settings).strip() + "\n```"]
    return "\n\n".join(parts)


GENERATED = {"commands": commands, "groups": groups, "experiments": experiments}


def command_keys(file: Path) -> list[Key]:
    """The keys of a command's config, except those of its groups and of Hydra."""
    from start_training.config.build import InitializeSettings
    from start_training.config.top_level import TopLevel

    hints = {**hints_of(TopLevel), **hints_of(_settings(file.stem)), "initialize": InitializeSettings}
    keys = []
    for key in _walk(file, hints, ""):
        group = key.name.split(".")[0]
        keys += [] if group == "hydra" or (CONF / group).is_dir() else [key]
    return keys


def option_keys(group: str, file: Path) -> list[Key]:
    """The keys that an option of a group sets, by their names on the command line."""
    prefix = "" if "@package _global_" in file.read_text() else group.replace("/", ".") + "."
    return list(_walk(file, _base_hints(group, file), prefix))


def header(file: Path) -> str:
    """The comment at the beginning of a YAML file, as one line; for an optimizer without one, the class."""
    lines = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines += [] if "@package" in line else [line.removeprefix("#").strip()]
    target = _load(file).get("_target_")
    return plain(" ".join(lines)) or f"`{target}`."


def _table_of(keys: list[Key]) -> list[str]:
    return [_table(keys)] if keys else []


def _table(keys: list[Key]) -> str:
    rows = [f"| `{key.name}` | {key.type} | `{key.default}` | {key.meaning} |" for key in keys]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _walk(file: Path, hints: Mapping[str, Any], prefix: str, node: Any = None, target: Any = None) -> Iterator[Key]:
    """The keys of a mapping in a YAML file, of those inside it, too.

    Args:
        file: the YAML file.
        hints: the annotations of the mapping's keys.
        prefix: what the names of the keys begin with.
        node: the mapping as a node of YAML; None: the whole file.
        target: the object that gets the keys.
    """
    lines = file.read_text().splitlines()
    node = yaml.compose(file.read_text()) if node is None else node
    values = {key.value: value for key, value in node.value}
    if "_target_" in values:
        target = import_target(values["_target_"].value)
        hints = hints_of(target)
    for key, value in node.value:
        if key.value in ("_target_", "_partial_", "_recursive_", "_convert_", "defaults"):
            continue
        name, comment = f"{prefix}{key.value}", _comment(lines, key, value)
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            replaced = _replaced(file, key.value)
            inner = hints_of(_base(replaced)) if replaced else inner_hints(hints.get(key.value))
            yield from _walk(file, inner, f"{name}.", value, _base(replaced) if replaced else None)
            continue
        default = _default(lines, value)
        said = comment or _comment_elsewhere(file, key.value)
        if not said or said.startswith("or "):  # the comment names further values
            said = f"{documented(target or _base(file), key.value)} {said}".strip()
        yield Key(name, type_in_words(hints.get(key.value, Any), yaml.safe_load(default)), default, plain(said))


def _replaced(file: Path, group: str) -> Path | None:
    """The option of a group that a family chooses, as `override /model: residual`."""
    for entry in _load(file).get("defaults") or []:
        for key, option in entry.items() if isinstance(entry, dict) else ():
            if key == f"override /{group}":
                return CONF / group / f"{option}.yaml"
    return None


def _comment(lines: list[str], key: Any, value: Any) -> str:
    """The comment that follows a value, or the colon after the key of a mapping."""
    mark = value.end_mark if not isinstance(value, yaml.MappingNode) or value.flow_style else key.end_mark
    rest = lines[mark.line][mark.column :]
    if not re.match(r":?\s+#", rest):
        return ""
    texts = [rest.partition("#")[2].strip()]
    for line in lines[mark.line + 1 :]:
        indented = re.match(r"(\s+)# (.*)", line)
        if indented is None or len(indented[1]) <= key.start_mark.column:
            break
        texts.append(indented[2])
    return " ".join(texts)


def _default(lines: list[str], value: Any) -> str:
    """The value as it stands in the file."""
    return lines[value.start_mark.line][value.start_mark.column : value.end_mark.column].strip()


def _comment_elsewhere(file: Path, key: str) -> str:
    """The comment on the same key in the files that an option or a command shares it with."""
    replaced = [found for group in ("model",) if (found := _replaced(file, group))]
    others = [*replaced, *_parents(file), *((CONF / "train.yaml",) if file.parent == CONF else ())]
    for other in others:
        for line in other.read_text().splitlines():
            if match := re.match(rf"\s*{key}:[^#]*\s# (.*)", line):
                return match[1]
    return ""


def _parents(file: Path) -> list[Path]:
    """The options of the same group that an option begins with."""
    names = [entry for entry in _load(file).get("defaults") or [] if isinstance(entry, str) and entry != "_self_"]
    files = [file.with_name(f"{name}.yaml") for name in names]
    return [parent for found in files if found.is_file() for parent in (found, *_parents(found))]


def _base(file: Path) -> Any:
    """The target of an option, which may stand in the one that it begins with."""
    for parent in (file, *_parents(file)):
        if target := _load(parent).get("_target_"):
            return import_target(target)
    return None


def _base_hints(group: str, file: Path) -> dict[str, Any]:
    """The annotations of an option's keys by the option that it begins with, one of a Hydra plugin's included."""
    if (target := _base(file)) is not None:
        return hints_of(target)
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from omegaconf import OmegaConf

    Plugins.instance()
    for parent in (file, *_parents(file)):
        for name in _load(parent).get("defaults") or []:
            if isinstance(name, str) and group == "hydra/launcher" and not file.with_name(f"{name}.yaml").is_file():
                return hints_of(OmegaConf.get_type(ConfigStore.instance().load(f"{group}/{name}.yaml").node))
    return {}


@cache
def _load(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text()) or {}


def _settings(command: str) -> Any:
    """The dataclass with the settings of a study."""
    from start_training.cli.commands import COMMANDS, resolve_function
    from start_training.studies.diagnose_config import DiagnosisSettings

    if command == "diagnose":
        return DiagnosisSettings
    return getattr(resolve_function(COMMANDS[command].function), "settings", None)
