"""A training run before it starts: its config, directory, overrides and sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from start_training.runs.config_hash import config_hash
from start_training.runs.provenance import commit, versions

NAMED = ("model", "initializer")  # config groups that name a run without overrides


def shown_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a job that name it: without those of Hydra and of the trial of a search.

    Example:
        >>> shown_overrides(["model.depth=3", "trial='search:3@sqlite:///a.db'", "hydra.run.dir=a"])
        ['model.depth=3']
    """
    return [word for word in overrides if not word.lstrip("+~").startswith(("trial=", "hydra.", "hydra/"))]


def run_title(overrides: Sequence[str], choices: Mapping[str, str | None]) -> str:
    """Return the overrides of a run separated by spaces, or without overrides the names of its net and initializer.

    Args:
        overrides: the command-line overrides.
        choices: the chosen option of each config group.
    Example:
        >>> choices = {"model": "fully_connected", "initializer": "he_normal"}
        >>> run_title(["model.depth=3", "seed=1"], choices), run_title([], choices)
        ('model.depth=3 seed=1', 'fully_connected he_normal')
    """
    return " ".join(overrides) or " ".join(str(choices[group]) for group in NAMED if choices.get(group))


@dataclass(frozen=True)
class Job:
    """A training run before it starts.

    Args:
        config: the resolved, plain config.
        directory: the run directory.
        overrides: the command-line overrides, which give the name of the run.
        sweep: name of the multirun that the run belongs to, used as the group of its W&B run; None: a single run.
        choices: the chosen option of each config group, which name a run without overrides; if they are not known, its
            classes do.
        command: the command that does the job.
    """

    config: Mapping[str, Any]
    directory: Path
    overrides: Sequence[str] = ()
    sweep: str | None = None
    choices: Mapping[str, str | None] = field(default_factory=dict)
    command: str = "train"

    @property
    def kind(self) -> str:
        """The command that does the job; range_test for a training that ends after its range test."""
        test = (self.config.get("callbacks") or {}).get("range_test") or {}
        return "range_test" if self.command == "train" and test.get("stop") else self.command

    @property
    def name(self) -> str:
        """The overrides in one line, or net and initializer: the name of the run in W&B and in messages."""
        nodes = {group: self.config.get(group) or {} for group in NAMED}
        classes = {group: _class_name(node) for group, node in nodes.items()}
        return run_title(self.overrides, self.choices or classes) or "run"

    @property
    def title(self) -> str:
        """Net, initializer and data, the title of the run's figures.

        Example:
            >>> net = {"_target_": "start_training.models.fully_connected.FullyConnected", "depth": 20, "widths": None}
            >>> he = {"_target_": "start_training.initializers.variance_scaling.VarianceScaling", "scale": 3.0}
            >>> data = {"_target_": "start_training.datamodules.digits.Digits"}
            >>> config = {"model": net, "initializer": he, "datamodule": data}
            >>> Job(config, Path(), ["initializer.scale=3"], choices={"initializer": "he_normal"}).title
            'FullyConnected, depth 20 · he_normal, scale 3 · digits'
            >>> Job(config, Path()).title
            'FullyConnected, depth 20 · VarianceScaling, scale 3 · digits'
        """
        model, labels = {**(self.config.get("model") or {})}, self.labels
        if isinstance(model.get("widths"), list):
            model["depth"] = len(model["widths"])
        depth = f", depth {model['depth']}" if isinstance(model.get("depth"), int) else ""
        modules = f", {model['modules']} modules" if isinstance(model.get("modules"), int) else ""
        labels["net"] += f"{depth}{modules}"
        return " · ".join(filter(None, labels.values())) or self.name

    @property
    def labels(self) -> dict[str, str]:
        """The net, the initializer and the data in a word each, by which runs can be filtered; "" for what is not set.

        Example:
            >>> he = {"_target_": "start_training.initializers.variance_scaling.VarianceScaling", "scale": 2.0}
            >>> data = {"_target_": "start_training.datamodules.digits.Digits"}
            >>> Job({"initializer": he, "datamodule": data}, Path(), choices={"initializer": "he_normal"}).labels
            {'net': '', 'initializer': 'he_normal', 'data': 'digits'}
        """
        model, initializer, data = ({**(self.config.get(group) or {})} for group in (*NAMED, "datamodule"))
        chosen = str(self.choices.get("initializer") or _class_name(initializer))
        numbers = {key: value for key, value in initializer.items() if type(value) in (int, float)}
        typed = {override.partition("=")[0].lstrip("+") for override in self.overrides}
        if self.choices.get("initializer"):  # its name stands for all settings but those that were changed
            numbers = {key: value for key, value in numbers.items() if f"initializer.{key}" in typed}
        own = str(data.get("_target_", "")).startswith("start_training.")
        return {
            "net": _class_name(model),
            "initializer": ", ".join([chosen, *(f"{key} {value:g}" for key, value in numbers.items())]),
            "data": data["_target_"].split(".")[-2] if own else _class_name(data),
        }

    @property
    def origin(self) -> dict[str, Any]:
        """Provenance of the run's results, for summary.json: seed, overrides, config hash, package versions, commit."""
        return {
            "seed": self.config["seed"],
            "overrides": list(self.overrides),
            "config_hash": config_hash(self.config),
            "versions": versions(),
            "commit": commit(),
        }


def _class_name(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_", "")).rpartition(".")[2]
