"""Errors of a disk that takes no more data, such as a full one: found behind any exception, and described."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no further file can be written: full, over quota, or read-only
CODES = {*FULL, errno.EIO, errno.EFBIG}
_MOUNTS = Path("/proc/self/mounts")


class DiskError(OSError):
    """Raised when a file cannot be written because its disk is full or read-only, or fails.

    Its text names the file, the reason, and the device and mount point of the file system.
    """

    def __str__(self) -> str:
        return f"{self.filename}: {reason_of(self)}"


def disk_error(error: BaseException | None, path: Path) -> DiskError | None:
    """Return the error of a disk that is the reason for an exception; None if it has another reason.

    Libraries such as torch and matplotlib raise further errors while they close a file that they could not write, so
    the exceptions before `error` are searched, too.

    Args:
        error: the exception.
        path: named if the exception does not name a file.
    Example:
        >>> disk_error(OSError(errno.ENOSPC, "No space left on device"), Path("a.csv")).filename
        'a.csv'
        >>> disk_error(ValueError("seed = -1"), Path("a.csv"))
    """
    while error is not None:
        if isinstance(error, DiskError):
            return error
        if isinstance(error, OSError) and error.errno in CODES:
            return DiskError(error.errno, os.strerror(error.errno), str(error.filename or path))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


@contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """Turn any exception with a disk error as its reason into a DiskError that names `path`, the file being written."""
    try:
        yield
    except Exception as error:
        if (disk := disk_error(error, path)) is None:
            raise
        raise DiskError(disk.errno, disk.strerror, str(path)) from error


@contextmanager
def collected_disk_errors(errors: list[DiskError], path: Path) -> Iterator[None]:
    """Append a disk error raised in the block to `errors`, for a caller that raises it after its last file."""
    try:
        yield
    except Exception as error:
        if (disk := disk_error(error, path)) is None:
            raise
        errors.append(disk)


def reason_of(error: OSError) -> str:
    """Return the reason of an error on one line; for a disk's error with the device and mount point of its file.

    Example:
        >>> reason_of(PermissionError(errno.EACCES, "Permission denied", "a.csv"))
        'Permission denied'
    """
    if error.errno not in CODES or not error.filename:
        return str(error.strerror)
    mount = _mount_point(Path(os.fsdecode(error.filename)))
    return f"{error.strerror} (device {_device(mount)}, mounted at {mount})"


def _mount_point(path: Path) -> Path:
    path = Path(os.path.realpath(path))
    return next((folder for folder in (path, *path.parents) if os.path.ismount(folder)), path)


def _device(mount: Path) -> str:
    """Return the device of a mount point as the table of mounts names it, or its number where there is none."""
    lines = _MOUNTS.read_text(errors="replace").splitlines() if _MOUNTS.exists() else []
    mounted = [line.split() for line in lines if line.split()[1].encode().decode("unicode_escape") == str(mount)]
    return mounted[-1][0] if mounted else str(os.stat(mount).st_dev)
