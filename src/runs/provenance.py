"""The software that a run was made with: versions of packages, and the git commit of this code."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

_FILE = Path(__file__).resolve()
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "torchmetrics", "wandb", "numpy")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


@cache  # the code in memory is that of the time of import, even if files change later
def commit() -> str | None:
    """Return the git commit of this code, with the suffix `-dirty` if files have changed; None outside a checkout."""
    try:
        _git("ls-files", "--error-unmatch", str(_FILE))  # fails for a copy installed within another project's checkout
        return _git("describe", "--always", "--abbrev=40", "--dirty")
    except (OSError, subprocess.CalledProcessError):  # no git, or an installed copy
        return None


def _git(*words: str) -> str:
    command = ["git", "-C", str(_FILE.parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
