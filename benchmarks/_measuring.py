"""Measurements of benchmarks: methods timed in turns, ratios with their spread over rounds, and peak memory.

Two successive timings differ because of other load of the machine. Methods to do the same work are therefore timed in
turns, in reverse order in every second turn, and compared within each turn.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
T = TypeVar("T")
STATUS = Path("/proc/self/status")
FORGET_PEAK = Path("/proc/self/clear_refs")


class Spread(NamedTuple):
    """Median, smallest and largest value of a quantity over rounds.

    The range is a distribution-free confidence interval of the median: all of n independent rounds are on one side of
    the true median with probability 2^(1 − n), so that the confidence is 96.9% for six rounds.
    """

    median: float
    least: float
    greatest: float

    def text(self, form: str = ".2f") -> str:
        """Return `median (least–greatest)` as text, with each number in this format."""
        return f"{self.median:{form}} ({self.least:{form}}–{self.greatest:{form}})"


def spread(values: ArrayLike) -> Spread:
    """Return the spread over rounds of values of shape (rounds,), or of the medians over turns of (rounds, turns)."""
    rounds = np.asarray(values, dtype=np.float64)
    if rounds.ndim > 1:
        rounds = np.median(rounds, axis=1)
    return Spread(float(np.median(rounds)), float(rounds.min()), float(rounds.max()))


def ratio_and_range(values: ArrayLike) -> dict[str, Any]:
    """Return the median of ratios over rounds as `ratio`, and their smallest and largest value as `range`."""
    ratio, *ratio_range = spread(values)
    return {"ratio": ratio, "range": ratio_range}


def in_turns(ways: Sequence[Callable[[int], T]], turns: int, *, first: int = 0) -> list[list[T]]:
    """Call several functions in turns, in reverse order in every second turn.

    Args:
        ways: Functions of the number of a turn, which do a part of the same work and return a measurement.
        turns: Number of turns; each function is called once per turn.
        first: Number of the first turn, which continues the turns of an earlier call.
    Returns:
        The measurements, as a list over turns of lists over functions.
    """
    results = []
    for turn in range(first, first + turns):
        order = 1 if turn % 2 == 0 else -1
        results.append([way(turn) for way in ways[::order]][::order])
    return results


def now(device: str) -> float:
    """Wait until the device has finished all its work and return the time in seconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def least_seconds(work: Callable[[], object], device: str = "cpu", *, calls: int = 5) -> float:
    """Return the seconds of the fastest of several calls of `work`."""
    seconds = []
    for _ in range(calls):
        start = now(device)
        work()
        seconds.append(now(device) - start)
    return min(seconds)


def arithmetic_limit(device: str, *, size: int, dtype: torch.dtype = torch.float32) -> float:
    """Measure the rate, in TFLOP/s, at which the device multiplies square matrices (2 size³ operations each)."""
    matrix = torch.full((size, size), 1 / size, device=device, dtype=dtype)
    return 2e-12 * size**3 / least_seconds(lambda: matrix @ matrix, device)


@contextmanager
def single_threaded_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Provide a thread pool in which torch uses a single thread within each thread."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        yield pool
    torch.set_num_threads(before)  # a part of this setting is global to the process


def peak_mebibytes(prepare: Callable[[], object], work: Callable[[], object], device: str = "cpu") -> float | None:
    """Measure the peak memory of `work()` in a new process, in MiB, beyond the memory in use after `prepare()`.

    On a GPU, it is the peak of the memory that torch allocates on the GPU in `work()`.

    Args:
        prepare: Picklable function that is called first; memory that it still uses afterwards is not counted.
        work: Picklable function that is called once, with the same number of torch threads as in this process.
        device: `cpu` or `cuda`.
    Returns:
        The peak in MiB, or None if the operating system has no /proc/self/status, from which it is read.
    """
    if device == "cpu" and not (STATUS.exists() and FORGET_PEAK.exists()):
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_peak, prepare, work, device, torch.get_num_threads()).result()


def with_gpu_peak(work: Callable[[], T], device: str) -> tuple[T, float | None]:
    """Call `work()` and return its result and the peak of the memory that torch allocated on the GPU, in MiB.

    The peak is None on a CPU.
    """
    if device == "cpu":
        return work(), None
    torch.cuda.reset_peak_memory_stats()
    result = work()
    return result, torch.cuda.max_memory_allocated() / 2**20


def _measure_peak(prepare: Callable[[], object], work: Callable[[], object], device: str, threads: int) -> float | None:
    torch.set_num_threads(threads)
    prepare()
    if device == "cuda":
        return with_gpu_peak(work, device)[1]
    before = _status_mebibytes("VmRSS")  # memory in use now
    FORGET_PEAK.write_text("5")  # reset the peak, VmHWM, to the memory in use now
    work()
    return _status_mebibytes("VmHWM") - before


def _status_mebibytes(key: str) -> float:
    """Read a value of /proc/self/status in MiB; `getrusage` would include the memory of the parent process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024
