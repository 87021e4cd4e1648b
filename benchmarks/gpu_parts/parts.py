"""The parts of `benchmark.py gpu`, the most important first, and the separate process in which each part runs.

If a part hangs, crashes or uses all memory, only this part is lost.
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
POLL = 0.1  # seconds between reads of the results that the process has written
TAIL = 3000  # last characters of the output that are recorded if a part fails
REAP = 20.0  # seconds to wait for a killed process to end, since it may wait for a driver
FINDING = "finding"  # the key of a result under which it is described as text, for the table


class Part(NamedTuple):
    """A part of the benchmark, measured in a separate process.

    Attributes:
        name: Name of the part.
        module: Module with a function `cases(device, tiny=…)`, whose cases are measured.
        weight: Weight of the part in the division of time.
        question: The question that the part answers.
    """

    name: str
    module: str
    weight: float
    question: str


class Case(NamedTuple):
    """A case of a part.

    Attributes:
        name: Name of the case.
        measure: Function of the available seconds that measures the case and returns plain data.
        weight: Weight of the case in the division of the time of its part.
    """

    name: str
    measure: Callable[[float], dict[str, Any]]
    weight: float = 1.0


# The weight of a part is about its expected number of seconds on a data-centre GPU.
PARTS = tuple(
    Part(name, f"{__package__}.{module}", weight, question)
    for name, module, weight, question in (
        ("machine", "machine", 20, "which device is this, and how fast does it multiply matrices?"),
        ("correctness", "correctness", 70, "does ActivationLengths record the same on the device and on a CPU?"),
        ("cost", "cost", 150, "how much time does ActivationLengths add to a training step?"),
        ("ddp", "ddp", 45, "does ActivationLengths record the same with several processes as with one?"),
        ("ensembles", "wide_ensembles", 40, "are nets of width 10,000 sampled correctly, and at what cost?"),
        ("phase_diagram", "wide_phase_diagram", 35, "is a phase diagram at N = 10,000 correct, and at what cost?"),
        ("replicas", "replica_ratios", 50, "how much faster is a group of replicas than one run at a time?"),
        ("figure_1b", "figure_1b_depths", 90, "how long does figure 1b take at full size?"),
    )
)


def share(seconds: float, weights: Sequence[float]) -> float:
    """Return the time limit of the first of several tasks: the remaining seconds times its share of the weights."""
    return max(seconds, 0.0) * weights[0] / sum(weights)


def run_part(part: Part, *, device: str, tiny: bool, seconds: float, changed: Callable[[Record], None]) -> Record:
    """Measure a part in a new process, and kill it with its child processes at the time limit.

    Args:
        part: The part to measure.
        device: `cpu` or `cuda`.
        tiny: Whether to use small sizes.
        seconds: Time limit.
        changed: Function that is called with the record whenever it has changed.
    Returns:
        The record: `state` (done, out of time, or failed) with its `reason`, and `results`, which has a record with a
        state for each case.
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
                start_new_session=True,  # a new process group, so that child processes are killed too
                preexec_fn=die_with_parent,
            )
        try:
            while (status := process.poll()) is None and time.monotonic() - began < seconds:
                _read(file, record, changed)
                time.sleep(POLL)
        except BaseException:  # Ctrl-C or a termination signal
            record["state"] = "interrupted"
            changed(record)
            raise
        finally:
            _kill(process)  # including its child processes
        _read(file, record, changed)
        _conclude(record, status, log.read_text(errors="replace"))
    record["seconds"] = round(time.monotonic() - began, 1)
    changed(record)
    return record


def measure_part(module: str, device: str, tiny: bool, seconds: float, file: str) -> None:
    """Measure the cases of a part in its process, and write the results to the file whenever they change."""
    deadline = time.monotonic() + seconds
    cases = import_module(module).cases(device, tiny=tiny)
    for name in ("pytorch_lightning", "lightning_fabric"):  # hide messages about devices, and tips
        logging.getLogger(name).setLevel(logging.WARNING)
    measure_cases(cases, deadline, lambda results: write_json(Path(file), results))


def measure_cases(cases: list[Case], deadline: float, report: Callable[[list[Record]], None]) -> None:
    """Measure all cases; the record of a case that fails has the reason, and the next cases are measured anyway."""
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
            error.__traceback__ = None  # release the tensors that its frames refer to
        result["seconds"] = round(time.monotonic() - start, 3)
        report(results)
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # make the memory available to the next case


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
    """Return the state and reason of a part by the exit status of its process, None if it was killed at its limit."""
    if status is None:
        return {"state": "out of time", "reason": f"killed at its limit of {seconds:g} s"}
    if status == 0:
        return {"state": "done", "reason": None}
    if status < 0:
        memory = " (sent by the kernel if memory runs out)" if status == -signal.SIGKILL else ""
        return {"state": "failed", "reason": f"its process was killed by {signal.Signals(-status).name}{memory}"}
    last = output.strip().rpartition("\n")[2]
    return {"state": "failed", "reason": f"its process ended with status {status}{f': {last}' if last else ''}"}


if __name__ == "__main__":
    measure_part(*json.loads(sys.argv[1]))
