"""What a page says and draws of one run: read from its directory, finished or not, damaged or not."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml

from start_training.analysis.step_columns import COLUMNS
from start_training.callbacks.contracts import call_implemented
from start_training.config.build import build
from start_training.config.loggers import named_nodes
from start_training.files.damaged_file import DamagedFile
from start_training.reports import run_clues
from start_training.reports.pages.length_plots import growth_plot, length_plots
from start_training.reports.pages.run_facts import facts_of, files_of_run
from start_training.reports.pages.theory_band import TheoryBand, theory_band
from start_training.reports.pages.training_plots import phase_plot, range_test_plot, training_plot
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.metrics_file import readable_metrics
from start_training.runs.read_lengths import layer_matrix
from start_training.runs.table import COLUMNS as TABLES
from start_training.tasks.merit import label_of, text_of

T = TypeVar("T")


@dataclass(frozen=True)
class Detail:
    """How much of its recorded numbers a page keeps of each run.

    Attributes:
        columns: Most columns of the heat map, and most points of a curve by step.
        decimals: Decimals of log lengths, in nats.
    """

    columns: int = COLUMNS
    decimals: int = 4


@dataclass
class RunSection:
    """A run as the template `run.html` shows it; see `run_section`.

    Attributes:
        title: Net, initializer and data.
        directory: The run directory.
        state: Its state, such as completed or running; "" for lengths that were recorded without a run.
        sentences: The results in words.
        problems: What could not be read, imported or predicted, in words.
        facts: What the run is: pairs of a name and a text.
        config: The config as YAML.
        files: The text of each link and its address relative to the page.
        plots: Interactive figures by name.
        linked: What connects heat map, slider and profile; see `length_plots`.
        detail: How much of the recorded numbers is kept.
    """

    title: str
    directory: str
    state: str
    detail: Detail
    sentences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    config: str = ""
    files: list[tuple[str, str]] = field(default_factory=list)
    plots: dict[str, dict[str, Any]] = field(default_factory=dict)
    linked: dict[str, Any] | None = None

    def read(self, action: Callable[[], T], otherwise: T) -> T:
        """Return what `action` reads; if a file is damaged, name it among the problems and return `otherwise`."""
        try:
            return action()
        except DamagedFile as error:
            self.problems.append(str(error))
            return otherwise

    def attempt(self, what: str, action: Callable[[], T]) -> T | None:
        """Return what `action` builds from the run's config, or None: old or foreign code may fail in any way."""
        try:
            return action()
        except Exception as error:
            self.problems.append(f"{what}: {error}")
            return None


def run_section(directory: Path, folder: Path, *, detail: Detail = Detail(), trust: Collection[str] = ()) -> RunSection:
    """Read a run from its directory.

    Args:
        directory: The run directory, or one in which `ActivationLengths` has recorded lengths.
        folder: Where the page is written, which links to files are relative to.
        detail: How much of the recorded numbers to keep.
        trust: Packages of the user that the config may name, of which nothing is imported otherwise.
    """
    run = RunDirectory(directory)
    has_config = os.path.lexists(run.config_file)
    section = RunSection("", str(directory), run.state if has_config else "", detail)
    config: dict[str, Any] = section.read(run.unchecked_config, {}) if has_config else {}
    summary = section.read(run.summary, None) or {}
    trusted = bool(config) and section.attempt("not imported", lambda: run.config(trust=trust)) is not None
    job = Job(config, directory, summary.get("overrides") or ())
    section.title = job.title if config else directory.name
    section.config = yaml.safe_dump(config, sort_keys=False) if config else ""
    section.facts = facts_of(config, summary)
    section.files = files_of_run(run.path, folder)
    section.sentences = _sentences(section, config if trusted else {}, summary)
    tables = {name: section.read(partial(run.rows, name), None) for name in TABLES}
    lengths = tables["lengths"]
    theory = None
    if trusted and lengths is not None:
        initial = layer_matrix(lengths).iloc[:, 0].to_numpy()
        theory = section.attempt("no prediction by theory", lambda: theory_band(config, initial))
    _draw(section, run, tables, theory, summary)
    return section


def _draw(
    section: RunSection,
    run: RunDirectory,
    tables: Mapping[str, pd.DataFrame | None],
    theory: TheoryBand | None,
    summary: Mapping[str, Any],
) -> None:
    detail = section.detail
    metrics, error = readable_metrics(run.metrics_file)
    if error is not None:
        section.problems.append(str(error))
    rows = pd.DataFrame([metrics[step] for step in sorted(metrics)])
    steps, phases, test = tables["steps"], tables["phase"], tables["range_test"]
    training = training_plot(rows, steps, tables["hyperparameters"], most_points=detail.columns)
    plots = {"training": training}
    if tables["lengths"] is not None:
        drawn, section.linked = length_plots(
            tables["lengths"], theory, most_columns=detail.columns, decimals=detail.decimals
        )
        plots |= drawn
    if steps is not None:
        plots["growth"] = growth_plot(steps, most_columns=detail.columns)
    if phases is not None:
        plots["phase"] = phase_plot(phases)
    if test is not None:
        max_lr = (summary.get("range_test") or {}).get("max_lr")
        plots["range_test"] = range_test_plot(test, max_lr if isinstance(max_lr, int | float) else None)
    section.plots = {name: plot for name, plot in plots.items() if plot is not None}


def _sentences(section: RunSection, config: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Return the reason of the end, the test result, the clues, and what the callbacks of the config say of it."""
    if not summary:
        return []
    metrics = summary.get("metrics") or {}
    tested = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    results = [
        f"test {label_of(name)} " + (f"{tested[name]:.4f}" if name == "loss" else text_of(name, tested[name], 2))
        for name in sorted(tested, key=lambda name: name == "loss")
    ]
    lines = [": ".join(filter(None, [summary["status"], summary.get("reason")])), ", ".join(results)]
    if clues := summary.get("clues"):
        lines.append(section.attempt("clues", lambda: f"clues: {run_clues.sentence(clues)}") or "")
    for name, node in named_nodes(config, "callbacks") if config else []:
        lines += section.attempt(f"callbacks.{name}", partial(_said, node, f"callbacks.{name}", summary)) or []
    return [line for line in lines if line]


def _said(node: dict[str, Any], group: str, summary: Mapping[str, Any]) -> list[str]:
    return call_implemented([build(node, group)], "sentence", summary)
