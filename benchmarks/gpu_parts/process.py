"""Run one part in a process of its own, which may hang, crash or eat all memory at the cost of this part alone."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import child
from benchmarks.gpu_parts.parts import Part
from start_training.launchers.process_tree import die_with_parent

Record = dict[str, Any]
POLL = 0.1  # seconds between looks at what the process has written
TAIL = 3000  # characters of its output that are kept where something went wrong
REAP = 20.0  # seconds for the kernel to end a killed process, which may wait for a driver


def run_part(part: Part, *, device: str, tiny: bool, seconds: float, changed: Callable[[Record], None]) -> Record:
    """What came of a part within so many seconds, after which it is killed with all that it has started.

    state: done, out of time, or failed, with the reason; results: of each measurement, likewise. `changed` is called
    with the record whenever there is more in it.
    """
    began = time.monotonic()
    record: Record = {"state": "running", "reason": None, "limit_seconds": round(seconds, 1), "results": []}
    with tempfile.TemporaryDirectory() as folder:
        lines, log = Path(folder, "lines"), Path(folder, "log")
        order = {"module": part.module, "device": device, "tiny": tiny, "seconds": seconds, "lines": str(lines)}
        process = _start(order, log)
        try:
            read = 0
            while (ended := process.poll()) is None and time.monotonic() - began < seconds:
                read = _read(lines, read, record, changed)
                time.sleep(POLL)
        except BaseException:  # Ctrl-C, or a signal to end
            record["state"] = "interrupted"
            changed(record)
            raise
        finally:
            _kill(process)  # with what it has left running
        _read(lines, read, record, changed)
        _conclude(record, ended, log.read_text(errors="replace"))
    record["seconds"] = round(time.monotonic() - began, 1)
    changed(record)
    return record


def _start(order: Record, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", child.__name__, json.dumps(order)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to be killed as one
            preexec_fn=die_with_parent,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(REAP)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def _read(lines: Path, read: int, record: Record, changed: Callable[[Record], None]) -> int:
    """Take up the whole lines beyond the first `read` bytes; how many bytes are taken up now."""
    new = lines.read_bytes()[read:] if lines.exists() else b""
    whole = new[: new.rfind(b"\n") + 1]
    for line in whole.splitlines():
        entry = json.loads(line)
        if "names" in entry:
            record["results"] = [{"what": name, "state": "not begun"} for name in entry["names"]]
        else:
            record["results"][entry.pop("index")].update(entry)
    if whole:
        changed(record)
    return read + len(whole)


def _conclude(record: Record, status: int | None, output: str) -> None:
    """How the part and what it was at have ended. status: None where its time was up."""
    if status is None:
        record["state"], record["reason"] = "out of time", f"killed after {record['limit_seconds']:g} s"
    elif status:
        record["state"], record["reason"] = "failed", _reason(status, output)
    else:
        record["state"] = "done"
    for result in record["results"]:
        if result["state"] == "running":
            result |= {"state": record["state"], "reason": record["reason"]}
    if any(end["state"] != "done" for end in (record, *record["results"])):
        record["output"] = output[-TAIL:]


def _reason(status: int, output: str) -> str:
    if status == -signal.SIGKILL:
        return "its process was killed (SIGKILL), as the kernel does where memory runs out"
    if status < 0:
        return f"its process died of {signal.Signals(-status).name}"
    last = output.strip().rpartition("\n")[2]
    return f"its process ended with status {status}" + (f": {last}" if last else "")
