"""Copy the working tree, so that a campaign can change files in the copy."""

import os
import shutil
import subprocess
from pathlib import Path


def copy_of(root: Path, into: Path) -> Path:
    """Copy the files of a working tree that git tracks or would add, and return the folder `into`."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if os.path.lexists(root / name):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, into / name, follow_symlinks=False)  # conf/readout_initializer holds links
    commit = ["-c", "user.name=-", "-c", "user.email=-", "commit", "--quiet", "-m", "copy"]
    for words in (["init", "--quiet"], ["add", "--all"], commit):  # some tests need a git repository
        subprocess.run(["git", *words], cwd=into, check=True)
    return into


def paths(root: Path) -> str:
    """Return a PYTHONPATH with which `tests` and `start_training` are imported from a tree."""
    return os.pathsep.join([str(root), str(root / ".typing")])
