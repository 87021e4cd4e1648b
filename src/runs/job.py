"""One run before it starts: its config, its directory, and its name."""

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
    """One training run before it starts.

    Args:
        config: resolved and plain.
        directory: where the run writes.
        overrides: of the command line, which name the run.
        sweep: the name of the multirun that it belongs to, the group of its W&B run; None: it is a single run.
    """

    config: Mapping[str, Any]
    directory: Path
    overrides: Sequence[str] = ()
    sweep: str | None = None

    @property
    def name(self) -> str:
        """The title of the run."""
        return run_title(self.overrides)

    @property
    def origin(self) -> dict[str, Any]:
        """The origin of a summary's numbers: seed, overrides, hash of the config, versions, commit."""
        return {
            "seed": self.config["seed"],
            "overrides": list(self.overrides),
            "config_hash": config_hash(self.config),
            "versions": versions(),
            "commit": commit(),
        }
