"""How much memory jobs take at their peak, one at a time or together, measured in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks._memory import ROOT, STATUS, _mebibytes
from benchmarks._replicas_jobs import ALONE, WAYS, Config, timed

FORGET_PEAK = Path("/proc/self/clear_refs"), "5"  # VmHWM begins anew from VmRSS


def peak_mebibytes(way: str, configs: Sequence[Config], *, device: str, threads: int) -> float | None:
    """What training jobs adds to the memory that the process holds after one of the least net: imports and data.

    On a GPU, what torch allocates there at the peak, data included. None where the operating system does not say it
    in /proc.
    """
    if device == "cpu" and not (STATUS.exists() and FORGET_PEAK[0].exists()):
        return None
    process = subprocess.run(
        [sys.executable, "-m", __name__, way, device, str(threads)],
        input=json.dumps(list(configs)),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return float(process.stdout)


def _train(way: str, device: str, configs: Sequence[Config]) -> float:
    timed(WAYS[ALONE], [_least(configs[0])])
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        timed(WAYS[way], configs)
        return torch.cuda.max_memory_allocated() / 2**20
    before, (file, order) = _mebibytes("VmRSS"), FORGET_PEAK
    file.write_text(order)
    timed(WAYS[way], configs)
    return _mebibytes("VmHWM") - before


def _least(config: Config) -> Config:
    least = {"model": {"depth": 1, "width": 1}, "datamodule": {"batch_size": 1}, "trainer": {"max_steps": 1}}
    return {**config, **{group: {**config[group], **settings} for group, settings in least.items()}}


if __name__ == "__main__":
    way, device, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(_train(way, device, json.load(sys.stdin)))
