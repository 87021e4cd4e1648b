"""Which device this is, what torch it has, and how fast it multiplies and moves numbers."""

import os
import platform
import time
from functools import partial
from typing import Any

import torch

from benchmarks._arithmetic import arithmetic_limit
from benchmarks._machine import environment
from benchmarks.gpu_parts.parts import FINDING, Measurement

SIZES = {"cpu": 512, "cuda": 8192}  # of matrices
COPIED = {"cpu": 2**22, "cuda": 2**30}  # numbers
COPIES = 5


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """Facts, and rates in the two formats that training uses."""
    rates = [
        Measurement(f"products, {str(dtype).removeprefix('torch.')}", partial(products, device, dtype))
        for dtype in (torch.float32, torch.bfloat16)
    ]
    return [Measurement("facts", partial(facts, device)), *rates, Measurement("copies", partial(copies, device))]


def facts(device: str, seconds: float) -> dict[str, Any]:
    """As other benchmarks state them, and what torch says of the GPU."""
    more: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "cuda": torch.version.cuda}
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        more |= {
            "gpus": torch.cuda.device_count(),
            "gibibytes": round(gpu.total_memory / 2**30, 1),
            "multiprocessors": gpu.multi_processor_count,
            "capability": f"{gpu.major}.{gpu.minor}",
            "cudnn": torch.backends.cudnn.version(),
            "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        }
    known = environment(device, **more)
    memory = f", {known['gibibytes']} GiB, CUDA {known['cuda']}" if device == "cuda" else ""
    return {**known, FINDING: f"{known['device']}{memory}, torch {known['torch']}"}


def products(device: str, dtype: torch.dtype, seconds: float) -> dict[str, Any]:
    """Of large square matrices of this format, in torch's default settings: float32 without TF32."""
    rate = arithmetic_limit(device, size=SIZES[device], dtype=dtype)
    return {"teraflops": rate, "size": SIZES[device], FINDING: f"{rate:.3g} TFLOP/s"}


def copies(device: str, seconds: float) -> dict[str, Any]:
    """From the device's memory to itself; bytes read and written."""
    numbers = torch.zeros(COPIED[device], device=device)
    other, best = torch.empty_like(numbers), float("inf")
    for _ in range(COPIES):
        numbers[0].item()  # waits for the device
        start = time.perf_counter()
        other.copy_(numbers)
        other[0].item()
        best = min(best, time.perf_counter() - start)
    rate = 2e-9 * numbers.nbytes / best
    return {"gigabytes_per_second": rate, FINDING: f"{rate:.0f} GB/s read and written"}
