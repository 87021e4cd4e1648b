"""The parts of `benchmark.py gpu`, the most valuable first, and the process in which each of them is measured.

If a part hangs, crashes or takes all memory, only this part is lost.
"""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._harness import ROOT, write_json
from start_training.launchers.process_tree import die_with_parent

Record = dict[str, Any]
POLL = 0.1  # seconds between looks at the results that the process has written
TAIL = 3000  # characters of its output that are kept where something went wrong
REAP = 20.0  # seconds for the kernel to end a killed process, which may wait for a driver
FINDING = "finding"  # the key of a result that states it in words, for the table


class Part(NamedTuple):
    """A module whose `cases(device, tiny=)` are measured in a process of its own, and its weight in the budget."""

    name: str
    module: str
    weight: float
    question: str


class Case(NamedTuple):
    """`measure(seconds)` returns plain data, and takes about so many seconds where it can choose how long it takes."""

    name: str
    measure: Callable[[float], dict[str, Any]]
    weight: float = 1.0


# The weights are about the seconds that a part is expected to take on a data-centre GPU.
PARTS = tuple(
    Part(name, f"{__package__}.{module}", weight, question)
    for name, module, weight, question in (
        ("machine", "machine", 20, "which device, and how fast it multiplies"),
        ("correctness", "correctness", 70, "does ActivationLengths record what it records on a CPU?"),
        ("cost", "cost", 150, "what does recording add to a step?"),
        ("ddp", "ddp", 45, "do two processes record what one does?"),
        ("ensembles", "wide_ensembles", 40, "nets of width 10,000: law, memory, time"),
        ("phase_diagram", "wide_phase_diagram", 35, "a phase diagram at N = 10,000: values, memory, time"),
        ("replicas", "replica_ratios", 50, "how much faster is a group of replicas than one run at a time?"),
        ("figure_1b", "figure_1b_depths", 90, "how long does figure 1b take at full size?"),
    )
)


def share(seconds: float, weights: Sequence[float]) -> float:
    """The seconds of the first of several things to do, of those left for all; the rest share what it does not use."""
    return max(seconds, 0.0) * weights[0] / sum(weights)


def run_part(part: Part, *, device: str, tiny: bool, seconds: float, changed: Callable[[Record], None]) -> Record:
    """Measure a part within so many seconds, after which it is killed with all that it has started.

    Args:
        part: What to measure.
        device: `cpu` or `cuda`.
        tiny: Whether in small sizes.
        seconds: The limit.
        changed: Called with the record whenever there is more in it.
    Returns:
        `state` (done, out of time, or failed, with the `reason`), and `results`: of each case, likewise.
    """
    began = time.monotonic()
    record: Record = {"state": "running", "reason": None, "limit_seconds": round(seconds, 1), "results": []}
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "results.json"), Path(folder, "log")
        with log.open("wb") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps([part.module, device, tiny, seconds, str(file)])],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group, to be killed as one
                preexec_fn=die_with_parent,
            )
        try:
            while (status := process.poll()) is None and time.monotonic() - began < seconds:
                _read(file, record, changed)
                time.sleep(POLL)
        except BaseException:  # Ctrl-C, or a signal to end
            record["state"] = "interrupted"
            changed(record)
            raise
        finally:
            _kill(process)  # with what it has left running
        _read(file, record, changed)
        _conclude(record, status, log.read_text(errors="replace"))
    record["seconds"] = round(time.monotonic() - began, 1)
    changed(record)
    return record


def measure_part(module: str, device: str, tiny: bool, seconds: float, file: str) -> None:
    """In the part's process: measure its cases, and write the results to the file whenever there is more in them."""
    deadline = time.monotonic() + seconds
    cases = import_module(module).cases(device, tiny=tiny)
    for name in ("pytorch_lightning", "lightning_fabric"):  # which devices it has found, and tips
        logging.getLogger(name).setLevel(logging.WARNING)
    measure_cases(cases, deadline, lambda results: write_json(Path(file), results))


def measure_cases(cases: list[Case], deadline: float, report: Callable[[list[Record]], None]) -> None:
    """Measure all of them. One that fails states why, and the others follow."""
    results: list[Record] = [{"what": case.name, "state": "not begun"} for case in cases]
    for index, (result, case) in enumerate(zip(results, cases, strict=True)):
        seconds = share(deadline - time.monotonic(), [later.weight for later in cases[index:]])
        result["state"] = "running"
        report(results)
        start = time.monotonic()
        try:
            result |= {"state": "done", **case.measure(seconds)}
        except Exception as error:
            print(f"{case.name}:", file=sys.stderr)
            traceback.print_exc()
            message = " ".join(str(error).split())[:500]
            result |= {"state": "failed", "reason": f"{type(error).__name__}: {message}"}
            error.__traceback__ = None  # whose frames hold tensors
        result["seconds"] = round(time.monotonic() - start, 3)
        report(results)
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # else torch keeps it from the next case


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(REAP)


def _read(file: Path, record: Record, changed: Callable[[Record], None]) -> None:
    results = json.loads(file.read_text()) if file.exists() else []
    if results != record["results"]:
        record["results"] = results
        changed(record)


def _conclude(record: Record, status: int | None, output: str) -> None:
    ending = _ending(status, output, record["limit_seconds"])
    for running in [entry for entry in (record, *record["results"]) if entry["state"] == "running"]:
        running |= ending
    if any(entry["state"] != "done" for entry in (record, *record["results"])):
        record["output"] = output[-TAIL:]


def _ending(status: int | None, output: str, seconds: float) -> Record:
    """How a part's process has ended. status: None where the time was up."""
    if status is None:
        return {"state": "out of time", "reason": f"killed after {seconds:g} s"}
    if status == 0:
        return {"state": "done", "reason": None}
    if status < 0:
        memory = " (the kernel sends it where memory runs out)" if status == -signal.SIGKILL else ""
        return {"state": "failed", "reason": f"its process died of {signal.Signals(-status).name}{memory}"}
    last = output.strip().rpartition("\n")[2]
    return {"state": "failed", "reason": f"its process ended with status {status}{f': {last}' if last else ''}"}


if __name__ == "__main__":
    measure_part(*json.loads(sys.argv[1]))
