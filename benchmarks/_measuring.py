"""How benchmarks measure: ways that take turns, ratios with their spread over rounds, and memory at its peak.

Two timings one after the other differ by what else the machine did meanwhile. So ways to do the same work are measured
in turns, in reverse order in every second turn, and compared turn by turn.
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
    """A quantity's median over rounds, and its least and greatest value.

    The range is a confidence interval that assumes no distribution: of n independent rounds all lie on one side of the
    true median with probability 2^(1 − n), so that it covers 96.9 % for six rounds.
    """

    median: float
    least: float
    greatest: float

    def text(self, form: str = ".2f") -> str:
        """`median (least–greatest)`, each in this format."""
        return f"{self.median:{form}} ({self.least:{form}}–{self.greatest:{form}})"


def spread(values: ArrayLike) -> Spread:
    """The spread over rounds. values: one number per round, or (rounds, turns), whose medians over turns count."""
    rounds = np.asarray(values, dtype=np.float64)
    if rounds.ndim > 1:
        rounds = np.median(rounds, axis=1)
    return Spread(float(np.median(rounds)), float(rounds.min()), float(rounds.max()))


def ratio_and_range(values: ArrayLike) -> dict[str, Any]:
    """The spread of ratios over rounds, as an entry `ratio` and an entry `range`."""
    ratio, *ratio_range = spread(values)
    return {"ratio": ratio, "range": ratio_range}


def in_turns(ways: Sequence[Callable[[int], T]], turns: int, *, first: int = 0) -> list[list[T]]:
    """Call every way with the number of each turn, in reverse order in every second turn.

    Args:
        ways: Functions of a turn's number, which do a share of the same work and return what they measured.
        turns: How often each is called.
        first: The number of the first turn, where earlier calls of this function have had those before it.
    Returns:
        What they returned, as [turn][way].
    """
    results = []
    for turn in range(first, first + turns):
        order = 1 if turn % 2 == 0 else -1
        results.append([way(turn) for way in ways[::order]][::order])
    return results


def now(device: str) -> float:
    """The clock in seconds, read when the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def least_seconds(work: Callable[[], object], device: str = "cpu", *, calls: int = 5) -> float:
    """The seconds of the fastest of some calls."""
    seconds = []
    for _ in range(calls):
        start = now(device)
        work()
        seconds.append(now(device) - start)
    return min(seconds)


def arithmetic_limit(device: str, *, size: int, dtype: torch.dtype = torch.float32) -> float:
    """How fast the device multiplies two square matrices of this size, in TFLOP/s, 2 size³ operations each."""
    matrix = torch.full((size, size), 1 / size, device=device, dtype=dtype)
    return 2e-12 * size**3 / least_seconds(lambda: matrix @ matrix, device)


@contextmanager
def single_threaded_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads in each of which torch uses one thread."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        yield pool
    torch.set_num_threads(before)  # part of the setting is the process's, not the thread's


def peak_mebibytes(prepare: Callable[[], object], work: Callable[[], object], device: str = "cpu") -> float | None:
    """What `work()` adds at its peak to the memory that a new process holds after `prepare()`, in MiB.

    On a GPU: what torch allocated there at the peak.

    Args:
        prepare: Called first; what it leaves in memory is not counted. Picklable, as `work` has to be.
        work: Called once, with as many threads of torch as here.
        device: `cpu` or `cuda`.
    Returns:
        None where the operating system does not say in /proc how much memory a process takes.
    """
    if device == "cpu" and not (STATUS.exists() and FORGET_PEAK.exists()):
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_peak, prepare, work, device, torch.get_num_threads()).result()


def with_gpu_peak(work: Callable[[], T], device: str) -> tuple[T, float | None]:
    """What `work()` returns, and the MiB that torch allocated on the GPU at the peak; None on a CPU."""
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
    before = _status_mebibytes("VmRSS")  # held now
    FORGET_PEAK.write_text("5")  # the peak, VmHWM, begins anew from what is held now
    work()
    return _status_mebibytes("VmHWM") - before


def _status_mebibytes(key: str) -> float:
    """From /proc, of this program alone; `getrusage` would count the process that started it."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024
