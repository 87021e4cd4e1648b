"""Name a file that cannot be read, and set it aside instead of deleting it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from start_training.settings import described


class DamagedFile(ValueError):
    """Raised when a file of a run or of a sweep cannot be used: it is unreadable, damaged, or not what it should be.

    Every function that reads such a file raises this error. Code that handles many runs catches it for one run, and
    goes on with the others.

    Args:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)  # so that it can be pickled
        self.path, self.reason = Path(path), reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@contextmanager
def named_if_damaged(path: Path) -> Iterator[None]:
    """Turn any error raised in the block, which reads the file `path`, into a `DamagedFile` that names it.

    FileNotFoundError is passed on: a running job may replace or merge files while others read them.
    """
    try:
        require(not path.exists() or path.is_file() or path.is_dir(), "a pipe or a device, not a file")
        yield
    except (DamagedFile, FileNotFoundError):
        raise
    except Exception as error:  # parsers of JSON, YAML, CSV and Parquet can raise anything on a damaged file
        raise DamagedFile(path, f"unreadable or damaged ({described(error)})") from error


def require(condition: bool, text: str) -> None:
    """Raise ValueError with this text unless the condition holds."""
    if not condition:
        raise ValueError(text)


def set_aside(path: Path, folder: Path) -> Path:
    """Rename a file or folder to NAME.damaged, or NAME.damaged-2 and so on if that exists, and print a line about it.

    Args:
        path: The file or folder; a symbolic link is renamed itself.
        folder: The folder for the renamed file, on the same file system.
    """
    target = folder / f"{path.name}.damaged"
    number = 1
    while os.path.lexists(target):
        number += 1
        target = folder / f"{path.name}.damaged-{number}"
    os.rename(path, target)
    print(f"{path}: set aside as {target.name}", file=sys.stderr)
    return target
