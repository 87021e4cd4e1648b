"""A training run before it starts: its config, directory, overrides and sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from start_training.runs.config_hash import config_hash
from start_training.runs.provenance import commit, versions

NAMED = ("model", "initializer")  # config groups that name a run without overrides


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
    """

    config: Mapping[str, Any]
    directory: Path
    overrides: Sequence[str] = ()
    sweep: str | None = None
    choices: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The overrides in one line, or net and initializer: the name of the run in W&B and in messages."""
        nodes = {group: self.config.get(group) or {} for group in NAMED}
        classes = {group: str(node.get("_target_", "")).rpartition(".")[2] for group, node in nodes.items()}
        return run_title(self.overrides, self.choices or classes) or "run"

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
