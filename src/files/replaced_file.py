"""Replace a file so that a kill, or a disk that fills up, never leaves half of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from start_training.files.damaged_file import DamagedFile
from start_training.files.disk_errors import named_disk_errors


@contextmanager
def replaced(path: Path, *, keep: Path | None = None, partial: Path | None = None) -> Iterator[Path]:
    """Give a path to write to, and rename that file to `path` when the block ends and the file is on the disk.

    The new file is written in the folder of `path`, and so on the same file system, where renaming is atomic. If the
    block raises an error, `path` stays as it was.

    Args:
        path: The file to replace, which need not exist.
        keep: The name under which the earlier file is kept; None deletes it.
        partial: Where the new file is written, for a file that several processes replace; None: the name of `path`
            with a dot before and `.partial` behind it.
    Raises:
        DiskError: the disk is full, read-only or fails; it names `path`, whatever the block raised.
        DamagedFile: there is a symbolic link or a folder where the new file is to be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "notes.txt")
        >>> with replaced(path) as partial:
        ...     _ = partial.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    partial = partial or path.with_name(f".{path.name.lstrip('.')}.partial")
    create_anew(partial)
    try:
        with named_disk_errors(path):
            yield partial
            _write_to_disk(partial)
            if keep is not None and path.exists():
                _keep(path, keep)
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # Windows cannot open a folder, and some network file systems cannot write one to the disk
        _write_to_disk(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Replace a file by one with this text."""
    with replaced(path) as partial:
        partial.write_text(text)


def create_anew(path: Path) -> None:
    """Create an empty file, and its folder, which others can then open for writing; a file of that name is deleted.

    Opening a symbolic link or a hard link for writing would empty the file behind it, which may lie anywhere.

    Raises:
        DamagedFile: there is a symbolic link or a folder of that name.
    """
    if path.is_symlink() or path.is_dir():
        raise DamagedFile(path, "must not be a symbolic link or a folder, since a file is written there; delete it")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.unlink(path)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _keep(path: Path, keep: Path) -> None:
    keep.unlink(missing_ok=True)
    try:
        os.link(path, keep)  # so that a file `path` exists at any time
    except OSError:  # the file system has no hard links
        os.replace(path, keep)


def _write_to_disk(path: Path) -> None:
    """Wait until the system has written a file, or the list of a folder's files, to the disk."""
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
