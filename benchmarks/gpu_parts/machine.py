"""Describe the device and its software, and measure how fast it multiplies matrices and copies memory."""

import os
import platform
from functools import partial
from typing import Any

import torch

from benchmarks._harness import environment
from benchmarks._measuring import arithmetic_limit, least_seconds
from benchmarks.gpu_parts.parts import FINDING, Case

SIZES = {"cpu": 512, "cuda": 8192}  # sizes of square matrices
COPIED = {"cpu": 2**22, "cuda": 2**30}  # amounts of copied float32 numbers


def cases(device: str, *, tiny: bool) -> list[Case]:
    return [
        Case("facts", partial(facts, device)),
        Case("products, float32", partial(products, device, torch.float32)),
        Case("products, bfloat16", partial(products, device, torch.bfloat16)),
        Case("copies", partial(copies, device)),
    ]


def facts(device: str, seconds: float) -> dict[str, Any]:
    """Return the environment as other benchmarks do, and properties of the GPU as reported by torch."""
    more: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(), "cuda": torch.version.cuda}
    memory = ""
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
        memory = f", {more['gibibytes']} GiB, CUDA {more['cuda']}"
    known = environment(device, **more)
    return {**known, FINDING: f"{known['device']}{memory}, torch {known['torch']}"}


def products(device: str, dtype: torch.dtype, seconds: float) -> dict[str, Any]:
    """Measure products of large square matrices of this type with torch's default settings (float32 without TF32)."""
    rate = arithmetic_limit(device, size=SIZES[device], dtype=dtype)
    return {"teraflops": rate, "size": SIZES[device], FINDING: f"{rate:.3g} TFLOP/s"}


def copies(device: str, seconds: float) -> dict[str, Any]:
    """Measure copies within the memory of the device; bytes read and bytes written both count."""
    numbers = torch.zeros(COPIED[device], device=device)
    copy = torch.empty_like(numbers)
    rate = 2e-9 * numbers.nbytes / least_seconds(lambda: copy.copy_(numbers), device)
    return {"gigabytes_per_second": rate, FINDING: f"{rate:.0f} GB/s read and written"}
