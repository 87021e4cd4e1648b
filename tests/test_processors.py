"""Tests of numbers pass with the kernels of other processors, whose sums round differently.

A library chooses its kernels as it is loaded: hence a fresh process for each.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPENBLAS = """
import numpy, scipy.linalg, threadpoolctl
found = (library for library in threadpoolctl.threadpool_info() if library["internal_api"] == "openblas")
print(*{library["architecture"] for library in found})
"""
ATEN = "import torch; print(torch.backends.cpu.get_cpu_capability().lower())"
OF_NUMPY, OF_TORCH = ("tests/theory", "tests/order_chaos", "tests/schedules"), ("tests/lengths",)
KERNELS = [  # the variable that asks for one, what tells which was loaded, a flag of the processor that it needs, tests
    ("OPENBLAS_CORETYPE=Haswell", OPENBLAS, "avx2", OF_NUMPY),
    ("OPENBLAS_CORETYPE=SkylakeX", OPENBLAS, "avx512f", OF_NUMPY),
    ("OPENBLAS_CORETYPE=Prescott", OPENBLAS, "pni", OF_NUMPY),
    ("ATEN_CPU_CAPABILITY=default", ATEN, "fpu", OF_TORCH),
    ("ATEN_CPU_CAPABILITY=avx2", ATEN, "avx2", OF_TORCH),
]
ALIASES = {"Katmai": "Prescott"}  # what OpenBLAS calls its oldest kernels


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
@pytest.mark.parametrize(("setting", "asked", "flag", "tests"), KERNELS, ids=[kernel[0] for kernel in KERNELS])
def test_numbers_pass_with_the_kernels_of_other_processors(setting, asked, flag, tests):
    variable, _, kernel = setting.partition("=")
    if flag not in flags():
        pytest.skip(f"{setting}: this processor is not known to have {flag}")
    loaded = in_a_fresh_process("-c", asked, environment={variable: kernel}).stdout.strip()
    if not loaded:
        pytest.skip(f"{setting}: NumPy is built without OpenBLAS")
    assert ALIASES.get(loaded, loaded) == kernel
    options = ("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider")
    run = in_a_fresh_process(*options, *tests, environment={variable: kernel})
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr
