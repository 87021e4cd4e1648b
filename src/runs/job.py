"""One run that is to be made: its config, its directory, and what it is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from start_training.runs.config_hash import config_hash
from start_training.runs.provenance import commit, versions


def run_title(overrides: Sequence[str]) -> str:
    """The overrides of a run as one line, `default` without any."""
    return " ".join(overrides) or "default"


@dataclass(frozen=True)
class Job:
    """One training run: what to train, where to leave it, and what it is called."""

    config: Mapping[str, Any]
    directory: Path
    overrides: Sequence[str] = ()
    sweep: str | None = None  # the multirun it belongs to: the group of its W&B run

    @property
    def name(self) -> str:
        """The title of the run."""
        return run_title(self.overrides)

    @property
    def origin(self) -> dict[str, Any]:
        """What every summary says of where its numbers come from."""
        return {
            "seed": self.config["seed"],
            "overrides": list(self.overrides),
            "config_hash": config_hash(self.config),
            "versions": versions(),
            "commit": commit(),
        }
