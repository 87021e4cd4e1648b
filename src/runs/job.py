"""A training run before it starts: its config, directory, overrides and sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from start_training.runs.config_hash import config_hash
from start_training.runs.provenance import commit, versions


def run_title(overrides: Sequence[str]) -> str:
    """Return the overrides of a run separated by spaces, or "default" without overrides.

    Example:
        >>> run_title(["model.depth=3", "seed=1"])
        'model.depth=3 seed=1'
    """
    return " ".join(overrides) or "default"


@dataclass(frozen=True)
class Job:
    """A training run before it starts.

    Args:
        config: the resolved, plain config.
        directory: the run directory.
        overrides: the command-line overrides, which give the name of the run.
        sweep: name of the multirun that the run belongs to, used as the group of its W&B run; None: a single run.
    """

    config: Mapping[str, Any]
    directory: Path
    overrides: Sequence[str] = ()
    sweep: str | None = None

    @property
    def name(self) -> str:
        """The overrides in one line, which is the name of the run in W&B and in messages."""
        return run_title(self.overrides)

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
