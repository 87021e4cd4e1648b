"""The experiments of conf/experiment: what their files state about them, without composing a config."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from start_training.config.composed import CONF
from start_training.settings import one_of

SMALL = "size=small"


@dataclass(frozen=True)
class Experiment:
    """An experiment of conf/experiment.

    Args:
        name: as in experiment=…, such as hanin_rolnick/figure_1b.
        record: the fields of the comment at the top of its file: Claim, Source, Command, Takes and Expected.
        script: the command that runs it.
        figure: the `figure` node of its config.
        seeded: whether it sweeps over seeds.
    """

    name: str
    record: dict[str, str]
    script: str
    figure: dict[str, Any]
    seeded: bool

    @property
    def minutes(self) -> float:
        """The minutes that its small version takes on two CPU cores, as its record states."""
        match = re.search(r"([\d.]+) minutes?", self.record["Takes"])
        assert match, self.name
        return float(match[1])

    @property
    def claim(self) -> str:
        """The first clause of its claim."""
        return re.split(r"[:;.](?= )|\.$", self.record["Claim"])[0]

    @property
    def words(self) -> list[str]:
        """The overrides of its small version; simulations have one size only."""
        return [f"experiment={self.name}", *([] if self.script == "simulate" else [SMALL])]


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name."""
    paths = sorted(CONF.glob("experiment/*/*.yaml"))
    return {f"{path.parent.name}/{path.stem}": _experiment(path.parent.name, path.stem) for path in paths}


def experiment_named(name: str) -> Experiment:
    """Return an experiment by its name, with or without its folder.

    Raises:
        ValueError: there is no such experiment.
    Example:
        >>> experiment_named("figure_1b").name
        'hanin_rolnick/figure_1b'
    """
    known = experiments()
    full = {known_name.rpartition("/")[2]: known_name for known_name in known}
    return known[one_of("EXPERIMENT", full.get(name, name), known)]


def lab_record(lines: Sequence[str]) -> dict[str, str]:
    """Return the fields of the comment at the top of an experiment's file; indented lines continue a field.

    Example:
        >>> lab_record(["# Claim: lengths", "#   grow.", "# Takes: 1 minute", "script: train"])
        {'Claim': 'lengths grow.', 'Takes': '1 minute'}
    """
    record: dict[str, str] = {}
    for line in lines:
        if named := re.match(r"# (\w+): (.*)", line):
            record[named[1]] = named[2]
        elif line.startswith("#   ") and record:
            record[next(reversed(record))] += f" {line.removeprefix('#').strip()}"
    return record


def _experiment(folder: str, stem: str) -> Experiment:
    text = (CONF / "experiment" / folder / f"{stem}.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    swept = config.get("hydra", {}).get("sweeper", {}).get("params", {})
    record = lab_record(text.splitlines())
    return Experiment(f"{folder}/{stem}", record, config["script"], config["figure"], "seed" in swept)
