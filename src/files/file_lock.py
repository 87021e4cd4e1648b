"""The lock of a run directory, which lets one process at a time write a run, and which others can look at."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import lock_descriptor, unlock_descriptor

from start_training.files.damaged_file import DamagedFile, named_if_damaged

LOCK = ".lock"
NOT_REGULAR = "must be a regular file, not a symbolic link, a folder, a pipe or a device; delete it"
TRIES, PAUSE = 5, 0.02  # a look at the lock, which takes microseconds, must not make a claim fail


class RunDirectoryLocked(ValueError):
    """Raised when another process is writing a run in the directory."""


class DirectoryLock:
    """The lock of a run directory: the file `.lock` in it, locked by the process that writes the run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file: IO[bytes] | None = None  # the locked file, if this object holds the lock

    def acquire(self) -> None:
        """Lock the directory, which is created if missing, until `release` or the end of the process, even by SIGKILL.

        Raises:
            RunDirectoryLocked: another process holds the lock.
            DamagedFile: `.lock` is not a regular file.
            ValueError: the directory is not writable, or its file system has no locks.
        """
        if self.file is not None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            file = open_lock(self.directory / LOCK, create=True)
        except OSError as error:
            raise ValueError(f"hydra.run.dir = {self.directory}: not writable ({error.strerror})") from error
        try:
            with self._named_errors():
                locked = lock(file)
            if not locked:
                raise RunDirectoryLocked(f"hydra.run.dir = {self.directory}: another process is writing a run here")
        except ValueError:
            file.close()
            raise
        self.file = file

    def is_held_elsewhere(self) -> bool:
        """Return whether another process holds the lock; raise `DamagedFile` if `.lock` cannot be opened."""
        path = self.directory / LOCK
        if self.file is not None or not os.path.lexists(path):
            return False
        with named_if_damaged(path):
            file = open_lock(path)
        with file, self._named_errors():
            return not can_be_locked(file)

    def release(self) -> None:
        """Unlock the directory, so that another process can lock it."""
        if self.file is not None:
            unlock_descriptor(self.file.fileno())  # a forked process may have the file open, too
            self.file.close()
            self.file = None

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ValueError(
                f"hydra.run.dir = {self.directory}: its file system does not support file locks ({error.strerror}), "
                "which prevent two processes from writing the same run; choose a directory on another file system"
            ) from error


def open_lock(path: Path, *, create: bool = False) -> IO[bytes]:
    """Open a lock file, whose content is left as it is.

    filelock does not follow symbolic links in its own lock files, but locks this one by its descriptor.

    Args:
        path: The lock file.
        create: Whether to create it if it does not exist.

    Raises:
        DamagedFile: there is a symbolic link, a folder, a pipe or a device instead.
        OSError: it cannot be opened.
    """
    writable = create or os.access(path, os.W_OK)
    flags = os.O_RDWR if writable else os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):  # Windows has neither; opening a pipe would wait for its other end
        flags |= getattr(os, name, 0)
    if path.is_symlink() or path.is_dir():
        raise DamagedFile(path, NOT_REGULAR)
    descriptor = os.open(path, flags | (os.O_CREAT if create else 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedFile(path, NOT_REGULAR)
    return os.fdopen(descriptor, "r+b" if writable else "rb", buffering=0)


def lock(file: IO[Any]) -> bool:
    """Lock a file until it is unlocked or the process ends, even by SIGKILL.

    Returns:
        False if another process holds the lock.

    Raises:
        OSError: the file system has no locks.
    """
    for _ in range(TRIES - 1):
        if lock_descriptor(file.fileno(), blocking=False):
            return True
        time.sleep(PAUSE)
    return lock_descriptor(file.fileno(), blocking=False)


def can_be_locked(file: IO[Any]) -> bool:
    """Return whether no process holds the lock of a file; several processes can test this at the same time.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        from fcntl import LOCK_NB, LOCK_SH, flock
    except ImportError:  # Windows, which has exclusive locks only
        free = lock(file)
    else:
        try:
            flock(file, LOCK_SH | LOCK_NB)
            free = True
        except (BlockingIOError, PermissionError):
            free = False
    if free:  # closing the file would not unlock it while a process forked meanwhile has it open
        unlock_descriptor(file.fileno())
    return free
