"""A lock on an open file, which ends with the process that holds it: no kill leaves it behind."""

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def takes(file: IO[str], *, shared: bool = False) -> bool:
    """Whether the lock on a file could be had, now; it is held until the file is closed.

    Args:
        file: open for writing; for a shared lock, for reading.
        shared: others may have such a lock at the same time (on Windows: no other may).
    Raises:
        OSError: the file system has no locks; being taken is not such an error.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN and EACCES: somebody has it
        return False
    return True
