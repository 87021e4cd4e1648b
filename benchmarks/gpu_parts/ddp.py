"""Whether several processes record on one device what one process records: the same samples of every step, shared out.

The reference is a training in one process without DDP, on the device. Under NCCL one process with DDP can be tried on
one GPU; two are refused by NCCL ("Duplicate GPU detected"), and what it said is the finding. Gloo is tried with two.
A negative control compares the reference with rank 0's samples alone: what came of a gather that reaches one rank.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import ddp_rank
from benchmarks.gpu_parts.parts import FINDING, Measurement
from benchmarks.gpu_parts.recorded import Lengths, Tolerance, deviations, verdict
from start_training.datamodules.random_inputs import RandomInputs
from start_training.launchers.process_tree import die_with_parent

TOLERANCE = Tolerance(1e-4, 1e-3)
REFUSALS = ("Duplicate GPU", "ncclInvalidUsage", "NCCL error")  # in what a rank says, the most telling first
SOURCE = re.compile(r'File "|raise ')  # of a traceback
PATIENCE = 5.0  # seconds for the other ranks to see that one has failed, and to say so


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """Of one process and of two, with what each backend can do."""
    worlds = [("nccl", 1), ("gloo", 2), ("nccl", 2)] if device == "cuda" else [("gloo", 2)]
    return [Measurement(_name(*world), partial(measure, *world, device, tiny)) for world in worlds]


def measure(backend: str, ranks: int, device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    """Train without DDP, with it, and with half the samples."""
    told = {"backend": backend, "ranks": ranks}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("several", "one", "half")]
        if refusal := _train_ranks(paths[0], backend, ranks, device, tiny, seconds):
            return {**told, "refused": refusal, FINDING: f"could not: {refusal}"}
        for path, data in zip(paths[1:], (RandomInputs, ddp_rank.RankZeroOfTwo), strict=True):
            ddp_rank.train(path, device=device, tiny=tiny, data=data)
        several, one, half = (Lengths.read(path) for path in paths)
    half.lengths["count"] = one.lengths["count"]  # in which alone the comparison would see it
    return {**told, **verdict(deviations(one, several), deviations(one, half), TOLERANCE)}


def _name(backend: str, ranks: int) -> str:
    return f"{'a process' if ranks == 1 else f'{ranks} processes'}, {backend}"


def _train_ranks(path: Path, backend: str, ranks: int, device: str, tiny: bool, seconds: float) -> str | None:
    """Why they have come to no end, if they have not."""
    order = json.dumps({"directory": str(path), "device": device, "tiny": tiny, "backend": backend, "ranks": ranks})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    processes, logs = [], [path.with_name(f"{path.name}.{rank}") for rank in range(ranks)]
    for rank, log in enumerate(logs):
        variables = {**os.environ, **where, "LOCAL_RANK": str(rank)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", ddp_rank.__name__, order],
                env=variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )
        processes.append(process)
    return _wait(processes, logs, seconds)


def _wait(processes: list[subprocess.Popen[bytes]], logs: list[Path], seconds: float) -> str | None:
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if any(process.poll() for process in processes):  # it has failed, and the others may wait for it for ever
            deadline = min(deadline, time.monotonic() + PATIENCE)
        time.sleep(0.05)
    statuses = [process.poll() for process in processes]
    for process in processes:
        process.kill()
        process.wait()
    if not any(statuses) and None not in statuses:
        return None
    output = "\n".join(log.read_text(errors="replace") for log in logs)
    print(output, file=sys.stderr)
    return telling_line(output) if any(statuses) else f"no end within {seconds:.0f} s"


def telling_line(output: str) -> str:
    """What a failed rank said, in one line: of NCCL what it names, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for sign in REFUSALS:
        for line in lines:
            if sign in line and not SOURCE.search(line):
                return line[:300]
    return lines[-1][:300] if lines else "it said nothing"
