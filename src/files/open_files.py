"""The limit on open files, and with it on run directories locked by one process, since each lock is an open file."""

import sys

if sys.platform != "win32":
    import resource

OTHERS = 256  # open files that a process needs besides one per run; CUDA opens many


def raise_open_file_limit(number: int) -> None:
    """Raise the limit on open files of this process so that it can lock `number` run directories, or to the maximum."""
    if sys.platform == "win32":
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = number + OTHERS if hard == resource.RLIM_INFINITY else min(number + OTHERS, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def max_open_runs() -> int | None:
    """Return how many run directories this process can lock at the same time; None: no limit."""
    if sys.platform == "win32":
        return None
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else max(hard - OTHERS, 1)
