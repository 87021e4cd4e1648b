"""Lock an open file: filelock's exclusive lock, and a look at it that disturbs nobody."""

import time
from typing import IO, Any

from filelock import lock_descriptor, unlock_descriptor

try:
    import fcntl
except ImportError:  # Windows, which has exclusive locks only
    fcntl = None  # type: ignore[assignment]

TRIES, PAUSE = 5, 0.02  # a look at the lock, which takes microseconds, must not make a claim fail


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
    """Whether no process holds the lock of a file. Several processes can look at the same time.

    Raises:
        OSError: the file system has no locks.
    """
    if fcntl is None:
        free = lock(file)
    else:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        free = True
    if free:  # closing the file would not unlock it while a process forked meanwhile has it open
        unlock_descriptor(file.fileno())
    return free
