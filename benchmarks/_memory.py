"""How much memory a job takes at its peak, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks._job import Job
from start_training.ensembles.sample import Ensemble

ROOT = Path(__file__).parents[1]  # where `python -m` finds this module
STATUS = Path("/proc/self/status")


def peak_mebibytes(job: Job, nets: int, device: str = "cpu", threads: int | None = None) -> float | None:
    """What sampling so many nets adds to the memory that the process holds when all is imported, and the net built.

    Blocks are taken and forgotten, as a job does that reduces them. On a GPU, what torch allocated there. None where
    the operating system does not say it in /proc.
    """
    if device == "cpu" and not STATUS.exists():
        return None
    order = json.dumps([[job.depth, job.width, job.distribution], nets, device, threads or torch.get_num_threads()])
    process = subprocess.run(
        [sys.executable, "-m", __name__, order], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(process.stdout)


def _sample(job: Job, nets: int, device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    net, inputs = job.net, job.input().unsqueeze(0).to(device)
    before = _mebibytes("VmRSS") if device == "cpu" else 0.0
    for _ in Ensemble(lambda: net, job.initializer, inputs).log_lengths(nets, sampler="layerwise"):
        pass
    return _mebibytes("VmHWM") - before if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20


def _mebibytes(key: str) -> float:
    """VmRSS: memory held now; VmHWM: the most of this program, where `getrusage` would count its parent's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    job, nets, device, threads = json.loads(sys.argv[1])
    print(_sample(Job(*job), nets, device, threads))
