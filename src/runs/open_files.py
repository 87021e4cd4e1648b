"""How many run directories a process can hold at a time: each by an open file, of which systems allow a number."""

import sys

if sys.platform != "win32":
    import resource

OTHERS = 256  # files that a process has open beside those of its runs; CUDA opens many


def allow_runs(number: int) -> None:
    """Ask the system for as many open files as so many runs need, or as many as it gives."""
    if sys.platform == "win32":
        return  # files are not counted there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = number + OTHERS if hard == resource.RLIM_INFINITY else min(number + OTHERS, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def most_runs() -> int | None:
    """How many the system allows; None where there is no limit."""
    if sys.platform == "win32":
        return None
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else max(hard - OTHERS, 1)
