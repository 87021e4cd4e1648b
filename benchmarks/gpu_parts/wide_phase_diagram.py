"""Check and time the phase diagram of a random tanh layer on the device, at N = 10,000 with a matrix of 10⁸ entries.

Values: at N = 1,000, the asymptotic distances of a few points in both phases, computed with one matrix for all points,
are compared with the definition, computed point by point in float64 on the CPU. Both phases are self-averaging, so that
rounding, which changes a chaotic orbit, hardly changes its mean distance. A negative control uses another J. Time: one
tile of randomly chosen points of the paper's diagram with 150 x 100 points is timed and extrapolated to all points,
which have the same cost except ordered ones, which end when their states are equal.
Source: Zhang, Feng, Chen & Lai 2021 (arXiv:2107.09437).
"""

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks._measuring import Array, least_seconds, with_gpu_peak
from benchmarks.gpu_parts.parts import FINDING, Case
from benchmarks.phase_diagram import QUICK, Size, distances
from start_training.order_chaos.asymptotic_distance import TILE, asymptotic_distance_of_one
from start_training.order_chaos.random_layer import draw_layer

POINTS = ((0.0, 0.5), (0.5, 0.7), (0.0, 1.6), (0.5, 2.0), (0.0, 3.0))  # (J0, J): two ordered, three chaotic points
TOLERANCE = 0.08  # mean distances of two chaotic orbits of 1,000 units differ by a few percent
CONTROL = 1.5  # factor on J in the negative control


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Return a case that checks values at an N that is feasible on a CPU, and one for time and memory at full N."""
    size = QUICK._replace(N=64) if tiny else Size(N=10_000)
    few = QUICK._replace(N=200) if tiny else Size(N=1000)
    return [
        Case(f"N = {few.N:,}, values", partial(values, few, device)),
        Case(f"N = {size.N:,}, time", partial(time_and_memory, size, device), 3),
    ]


def values(size: Size, device: str, seconds: float) -> dict[str, Any]:
    """Measure the largest difference between distances on the device and by definition, see `relative`."""
    layer = draw_layer(size.N, seed=0, number=0, device="cpu", dtype=torch.float64)
    reference = np.array([asymptotic_distance_of_one(layer, J0, J, **size.iterating) for J0, J in POINTS])
    on_device = draw_layer(size.N, seed=0, number=0, device=device)
    J0, J = np.array(POINTS).T
    apart, control = (relative(distances(on_device, J0, scale * J, size), reference) for scale in (1.0, CONTROL))
    agree, seen = apart <= TOLERANCE, control > TOLERANCE
    return {
        "apart": apart,
        "control": control,
        "tolerance": TOLERANCE,
        "reference": reference.tolist(),
        "agree": agree,
        "control_seen": seen,
        FINDING: f"{'agree' if agree else 'DIFFER'}: distances differ by {apart:.1e} (tolerance {TOLERANCE:g}); "
        f"control by {control:.1e}, {'detected' if seen else 'NOT DETECTED'}",
    }


def time_and_memory(size: Size, device: str, seconds: float) -> dict[str, Any]:
    """Measure time and peak memory of one tile of points, after a warm-up with few points.

    The time does not include drawing the matrix on the CPU.
    """
    began = time.monotonic()
    layer = draw_layer(size.N, seed=0, number=0, device=device)
    drawn = time.monotonic() - began
    J0, J = (np.concatenate(values)[: TILE[device]] for values in zip(*size.shares(), strict=True))
    distances(layer, J0[:8], J[:8], size)
    tile = partial(distances, layer, J0, J, size)
    of_tile, peak = with_gpu_peak(lambda: least_seconds(tile, device, calls=1), device)
    estimate, share = estimated_bytes(size.N, len(J)) / 2**20, len(J) / size.points
    return {
        "seconds_of_share": of_tile,
        "share": share,
        "seconds_of_all": of_tile / share,
        "drawing_seconds": drawn,
        "peak_mebibytes": peak,
        "estimated_mebibytes": estimate,
        FINDING: f"{of_tile:.3g} s for {share:.1%} of the points, extrapolated to all {of_tile / share:.3g} s; matrix "
        f"drawn in {drawn:.1f} s; memory {f'{peak:,.0f} MiB, ' if peak else ''}estimated {estimate:,.0f} MiB",
    }


def relative(values: Array, reference: Array) -> float:
    """Return the largest |value / reference − 1|, or |value − reference| where the reference is 0 (below 1e-6)."""
    met = reference < 1e-6
    return float(np.abs(np.where(met, values - reference, values / np.where(met, 1, reference) - 1)).max())


def estimated_bytes(N: int, points: int) -> int:
    """Return the estimated memory in bytes, all in float32.

    It has the matrix, a copy of it with one more column, and four arrays with two states of N units for each point.
    """
    return 4 * (2 * N**2 + 4 * 2 * points * N)
