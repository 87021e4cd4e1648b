"""Lock an open file with filelock, and test whether a file is locked without keeping others from locking it."""

import time
from typing import IO, Any

from filelock import lock_descriptor, unlock_descriptor

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
