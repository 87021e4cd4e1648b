"""What a page says of a study (a search, a recipe, …) or of a diagnosis: its results in words, tables and figures."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from start_training.files.damaged_file import DamagedFile, named_if_damaged, require
from start_training.reports.pages.diagnosis_tables import diagnosis_sentences, diagnosis_tables, signal_plot
from start_training.reports.pages.markdown_text import html_of
from start_training.reports.pages.plots import COLOURS, Plot, lines, numbers, plain, stacked
from start_training.reports.pages.run_facts import address, facts_of
from start_training.runs.directory import RunDirectory
from start_training.runs.documents import read_csv
from start_training.runs.job import Job
from start_training.runs.metrics_file import NAME as METRICS

RUNS = "runs"  # folder of the runs that a study has trained
ROWS = 500  # most rows of a table that are shown
IMAGE_BYTES = 1_500_000  # a larger figure is only linked
# Entries of a summary.json that `facts_of` shows, or the heading.
SHOWN = ("status", "reason", "text", "seed", "overrides", "versions", "commit", "config_hash", "seconds", "steps")
GROWTH = {"forward": "lengths, forward<br>(nats per layer)", "backward": "gradients, backward<br>(nats per layer)"}
ADVICE = ("action", "effect", "overrides")  # what is shown of each advice
DIAGNOSIS = ("net", "healthy", "failure_modes", "layers", *GROWTH)  # entries of a diagnosis


@dataclass
class StudySection:
    """A study or diagnosis as the template `study.html` shows it.

    Attributes:
        title: What was studied.
        path: Its directory or file.
        state: The state of a study; whether the net of a diagnosis is healthy.
        sentences: The results in words.
        report: The report in HTML, of a study that has written one in Markdown.
        results: Further results: pairs of a name and a text.
        facts: What the study is.
        tables: Name, columns and rows of each table, and how many rows it has.
        images: Name and address of each figure that is in the page.
        config: The config as YAML.
        files: Text and address of each file.
        problems: What could not be read.
        plots: Interactive figures by name.
    """

    title: str
    path: str
    state: str
    sentences: list[str] = field(default_factory=list)
    report: str = ""
    results: list[tuple[str, str]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    tables: list[tuple[str, list[str], list[list[str]], int]] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)
    config: str = ""
    files: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    plots: dict[str, Plot] = field(default_factory=dict)


def is_study(directory: Path) -> bool:
    """Return whether a directory holds a study rather than a run: it has runs of its own, or a table of results."""
    tables = [file for file in directory.glob("*.csv") if file.name != METRICS]
    return (directory / "config.yaml").is_file() and ((directory / RUNS).is_dir() or bool(tables))


def study_section(directory: Path, folder: Path) -> StudySection:
    """Read the results of a study from its directory.

    Args:
        directory: The directory of a search, a recipe or another study.
        folder: Where the page is written.
    """
    run, problems = RunDirectory(directory), []
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    try:
        config, summary = run.unchecked_config(), run.summary() or {}
    except DamagedFile as error:
        problems.append(str(error))
    title = Job(config, directory, summary.get("overrides") or ()).title if config else directory.name
    section = StudySection(title, str(directory), run.state, problems=problems)
    said = summary.get("text") or []
    if isinstance(said, str):
        section.report = html_of(said)
    else:
        section.sentences = [str(line) for line in said]
    if reason := summary.get("reason"):
        section.sentences.insert(0, str(reason))
    results = {key: value for key, value in summary.items() if key not in SHOWN}
    rows = {key: value for key, value in results.items() if _is_table(value)}
    section.results = list(_flat({key: value for key, value in results.items() if key not in rows}))
    section.facts = facts_of(config, summary)
    section.config = yaml.safe_dump(config, sort_keys=False) if config else ""
    for file in _files(directory, "*.csv"):
        try:
            section.tables.append(_table(file.stem, read_csv(file, ())))
        except DamagedFile as error:
            problems.append(str(error))
    for table in (_table(name, pd.DataFrame(value)) for name, value in rows.items()):
        if not any(table[1] == known[1] and all(row in known[2] for row in table[2]) for known in section.tables):
            section.tables.append(table)
    images = [(file.stem, _image(file)) for file in _files(directory, "figures/*.png")]
    section.images = [(name, image) for name, image in images if image]
    files = (*_files(directory, "*"), *_files(directory, "figures/*"))
    shown = [file for file in files if not file.name.startswith(".") and file.suffix != ".html"]
    section.files = [(str(file.relative_to(directory)), address(file, folder)) for file in shown]
    return section


def diagnosis_section(file: Path, folder: Path) -> StudySection:
    """Read a diagnosis from the JSON file that `diagnose out=FILE` has written.

    Raises:
        DamagedFile: it is not such a file.
    """
    with named_if_damaged(file):
        content = json.loads(file.read_text())
        complete = isinstance(content, dict) and all(name in content for name in DIAGNOSIS)
        require(complete, f"not a diagnosis, which has the entries {', '.join(DIAGNOSIS)}")
        lists = [content[name] for name in ("layers", "failure_modes", *GROWTH)]
        require(all(isinstance(values, list) for values in lists), "not a diagnosis: an entry is not a list")
        plots = {"growth": _growth(content)}
        if isinstance(signal := content.get("signal"), Mapping) and signal.get("name"):
            plots = {"signal": signal_plot(signal), **plots}
    state = "healthy" if content["healthy"] is True else "unhealthy"
    section = StudySection(str(content["net"]), str(file), str(content.get("verdict") or state).lower())
    section.sentences = [*diagnosis_sentences(content)]
    section.tables = [_table(*table) for table in diagnosis_tables(content)]
    advice = content.get("advice") or []
    shown = [{key: entry[key] for key in ADVICE if key in entry} for entry in advice if isinstance(entry, Mapping)]
    section.sentences += [f"advice: {_sentence(entry)}" for entry in shown]
    section.results = [
        pair for name in ("measured", "predicted") for pair in _flat({name: content.get(name) or "not covered"})
    ]
    section.files, section.plots = [(file.name, address(file, folder))], plots
    return section


def _growth(content: Mapping[str, Any]) -> Plot:
    """Draw the growth of lengths and gradients from each layer to the next."""
    panels, names = {}, [plain(name) for name in content["layers"]]
    for (name, title), colour in zip(GROWTH.items(), COLOURS, strict=False):
        values = [float("nan") if value is None else float(value) for value in content[name]]
        first = len(names) - len(values)  # growth is that from the layer before
        hover = f"layer %{{x}}: %{{customdata}}<br>{name} %{{y:.4g}} nats"
        marks = {"customdata": names[first:], "mode": "lines+markers", "showlegend": False}
        panels[title] = [lines(list(range(first, len(names))), numbers(values), colour, hover, **marks)]
    return stacked(panels, {"title": {"text": "layer"}})


def _sentence(entry: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in _flat(entry))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Flatten plain data to pairs of a dotted name and a text; lists of plain values stay in one line."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for number, item in enumerate(value, 1):
            yield from _flat(item, f"{name}.{number}")
    elif isinstance(value, list) and value:
        yield name, " ".join(map(_text, value))
    elif value not in (None, []):
        yield name, _text(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(name: str, table: pd.DataFrame) -> tuple[str, list[str], list[list[str]], int]:
    rows: Sequence[Sequence[Any]] = table.head(ROWS).astype(object).to_numpy().tolist()
    cells = [["—" if value is None or value != value else _text(value) for value in row] for row in rows]
    return name, [str(column) for column in table], cells, len(table)


def _files(directory: Path, pattern: str) -> list[Path]:
    """Return files by name, without links, which may lead to any file of whoever writes the page."""
    return [file for file in sorted(directory.glob(pattern)) if file.is_file() and not file.is_symlink()]


def _image(file: Path) -> str:
    """Return a PNG file as an address, or "" if it is none, or too large."""
    data = file.read_bytes() if file.stat().st_size < IMAGE_BYTES else b""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if data.startswith(b"\x89PNG") else ""
