"""Tests of numbers pass with the kernels of other processors, whose sums round differently.

A library chooses its kernels as it is loaded: hence a fresh process for each.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADED = """
import numpy, scipy.linalg, threadpoolctl, torch
found = (library for library in threadpoolctl.threadpool_info() if library["internal_api"] == "openblas")
print(*{library["architecture"] for library in found} or "-", torch.backends.cpu.get_cpu_capability().lower())
"""
TESTS = ("tests/theory", "tests/order_chaos", "tests/schedules", "tests/lengths")
# Of NumPy's OpenBLAS and of torch, what OpenBLAS calls its own, and a flag of the processor that they need.
KERNELS = [
    ("Prescott", "default", {"Prescott", "Katmai"}, "pni"),
    ("Haswell", "avx2", {"Haswell"}, "avx2"),
    ("SkylakeX", "avx512", {"SkylakeX"}, "avx512f"),
]


def in_a_fresh_process(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


def flags() -> list[str]:
    """What the processor can do, as Linux says; nothing elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 20 s on a quiet machine
@pytest.mark.parametrize(("openblas", "aten", "names", "flag"), KERNELS, ids=[kernel[0] for kernel in KERNELS])
def test_numbers_pass_with_the_kernels_of_other_processors(openblas, aten, names, flag):
    if flag not in flags():
        pytest.skip(f"{openblas}: this processor is not known to have {flag}")
    environment = {"OPENBLAS_CORETYPE": openblas, "ATEN_CPU_CAPABILITY": aten}
    of_numpy, of_torch = in_a_fresh_process("-c", LOADED, environment=environment).stdout.split()
    assert of_numpy in {*names, "-"} and of_torch == aten  # -: NumPy is built without OpenBLAS
    options = ("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider")
    run = in_a_fresh_process(*options, *TESTS, environment=environment)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr
