"""The phase diagram of a random tanh layer at N = 10,000, whose matrix has 10⁸ entries, and its values on the device.

Values: asymptotic distances of a few points on either side of the edge by the matrix product that all points share,
against the definition, a point at a time with its own matrix, in float64 on the CPU, at N = 1,000. Both phases are
self-averaging, so that what rounding changes in a chaotic orbit moves its mean little; a negative control compares with
another J. Time: one tile of randomly chosen points of the paper's diagram, 150 x 100, from which the whole is
extrapolated, since points cost the same except the ordered ones, which end when their states have met.
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

POINTS = ((0.0, 0.5), (0.5, 0.7), (0.0, 1.6), (0.5, 2.0), (0.0, 3.0))  # (J0, J): two ordered, three chaotic
TOLERANCE = 0.08  # two chaotic orbits of 1,000 units differ by a few percent
CONTROL = 1.5  # times J


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Values at an N whose definition a CPU can follow; time and memory at the full one."""
    size = QUICK._replace(N=64) if tiny else Size(N=10_000)
    few = QUICK._replace(N=200) if tiny else Size(N=1000)
    return [
        Case(f"N = {few.N:,}, values", partial(values, few, device)),
        Case(f"N = {size.N:,}, time", partial(time_and_memory, size, device), 3),
    ]


def values(size: Size, device: str, seconds: float) -> dict[str, Any]:
    """The largest difference from the definition, relative where that is not 0."""
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
        FINDING: f"{'agree' if agree else 'DIFFER'}: {apart:.1e} apart (at most {TOLERANCE:g}); "
        f"control {control:.1e}, {'seen' if seen else 'NOT SEEN'}",
    }


def time_and_memory(size: Size, device: str, seconds: float) -> dict[str, Any]:
    """Of one tile, after one of few points that is not timed. Not timed either: drawing the matrix, on the CPU."""
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
        FINDING: f"{of_tile:.3g} s for {share:.1%} of the points, so {of_tile / share:.3g} s for all; matrix drawn in "
        f"{drawn:.1f} s; {f'{peak:,.0f} MiB, ' if peak else ''}estimated {estimate:,.0f} MiB",
    }


def relative(values: Array, reference: Array) -> float:
    """The largest |value / reference − 1|; absolute where the states of the reference have met."""
    met = reference < 1e-6
    return float(np.abs(np.where(met, values - reference, values / np.where(met, 1, reference) - 1)).max())


def estimated_bytes(N: int, points: int) -> int:
    """Float32: the matrix, a copy with a column more, and of two states a point: old, scaled, with their mean, new."""
    return 4 * (2 * N**2 + 4 * 2 * points * N)
