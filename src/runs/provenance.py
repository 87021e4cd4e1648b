"""What a run was made with: the packages' versions and the code's commit."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

_FILE = Path(__file__).resolve()
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "torchmetrics", "wandb", "numpy")


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the packages that a result can depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


@cache  # what runs is what was there when it was imported
def commit() -> str | None:
    """The commit of this code, with `-dirty` where files differ from it; None outside a git checkout."""
    try:
        _git("ls-files", "--error-unmatch", str(_FILE))  # an installed copy may lie within a checkout of the user's
        return _git("describe", "--always", "--abbrev=40", "--dirty")
    except (OSError, subprocess.CalledProcessError):  # no git, or an installed copy
        return None


def _git(*words: str) -> str:
    command = ["git", "-C", str(_FILE.parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
