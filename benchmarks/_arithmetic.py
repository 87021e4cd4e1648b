"""How fast the machine multiplies and adds: what a program's own rate is to be seen against."""

import time

import torch

SIZES = {"cpu": 2048, "cuda": 8192}
TURNS = 5


def arithmetic_limit(device: str, *, size: int | None = None, dtype: torch.dtype = torch.float32) -> float:
    """TFLOP/s of products of two large square matrices, 2 n³ operations each; the fastest of a few."""
    size = size or SIZES[device]
    matrix = torch.full((size, size), 1 / size, device=device, dtype=dtype)
    return 2e-12 * size**3 / min(_seconds(matrix) for _ in range(TURNS))


def _seconds(matrix: torch.Tensor) -> float:
    start = time.perf_counter()
    (matrix @ matrix)[0, 0].item()  # waits for the device
    return time.perf_counter() - start
