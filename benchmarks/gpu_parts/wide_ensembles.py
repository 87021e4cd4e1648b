"""Check and time ensembles on the device: nets of width 10,000, whose matrices have 10⁸ weights, and of width 100.

Nets are built and drawn on the device. Law: the mean of log M_d / M_0 is compared with that of the exact law of normal
weights (Hanin & Rolnick 2018, arXiv:1803.01719); a difference of more than 4 standard errors is an error. A negative
control increases the variance of the weights by 10%. Memory: the peak is compared with an estimate, the weights of the
net that gives the shapes and the buffer for one layer; activations are small compared with them. Time: the time of a
net, and its ratio to the time in which the same number of weights is only drawn.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks._ensemble_ways import (
    FLOOR,
    OURS,
    EnsembleJob,
    Way,
    draw_job,
    sampled_log_ratios,
    sigmas,
    time_slices,
)
from benchmarks._measuring import Array, spread, with_gpu_peak
from benchmarks.gpu_parts.parts import FINDING, Case
from start_training.ensembles.layerwise import chunk_size
from start_training.ensembles.sample import Ensemble
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected

FIRST = 4  # number of nets that are sampled first, to estimate the time of more
LARGEST = 2000  # largest number of nets
LAW_NETS = 100_000
CONTROL = 1.1  # factor on the variance of the weights in the negative control


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Return cases for nets of width 10,000 and of width 100."""
    jobs = (EnsembleJob(2, 64), EnsembleJob(2, 16)) if tiny else (EnsembleJob(10, 10_000), EnsembleJob(100, 100))
    rounds, wide = 1 if tiny else 3, jobs[0]
    return [
        Case(f"{wide.depth} x {wide.width:,}, law", partial(law_and_memory, wide, device), 3),
        *(Case(f"{job.depth} x {job.width:,}, time", partial(times, job, device, rounds)) for job in jobs),
    ]


def law_and_memory(job: EnsembleJob, device: str, seconds: float) -> dict[str, Any]:
    """Compare sampled lengths with the exact law, and the peak memory with its estimate.

    Two thirds of the time are for the sample, one third is for the negative control.
    """
    with torch.device(device):  # its weights are drawn on the device
        net = job.build()
    ours = partial(sampled, net, job, device)
    (ratios, total), peak = with_gpu_peak(lambda: within(ours, seconds * 2 / 3), device)
    others, _ = within(partial(ours, scale=2 * CONTROL), seconds / 3, largest=len(ratios))
    exact = job.exact_log_ratios(LAW_NETS, 0)
    apart, control, per_net = sigmas(ratios, exact), sigmas(others, exact), total / len(ratios)
    estimate = estimated_bytes(net, device) / 2**20
    return {
        "nets": len(ratios),
        "seconds_per_net": per_net,
        "sigmas": apart,
        "control_sigmas": control,
        "agree": apart < 4,
        "control_seen": control > 4,
        "peak_mebibytes": peak,
        "estimated_mebibytes": estimate,
        FINDING: f"{len(ratios)} nets, {per_net:.3g} s each; {apart:.1f} standard errors from the exact law, control "
        f"{control:.0f}; memory {f'{peak:,.0f} MiB, ' if peak else ''}estimated {estimate:,.0f} MiB",
    }


def times(job: EnsembleJob, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the time of a net, and its ratio to the time of only drawing its weights (median and range of rounds)."""
    with torch.device(device):  # its weights are drawn on the device
        net = job.build()
    ours = Way(OURS, lambda nets, seed: sampled(net, job, device, 0, nets, seed=seed), chunk_size(net, device))
    floor = Way(FLOOR, partial(draw_job, job, job.distribution, device, 1))
    sampling, drawing = time_slices([ours, floor], rounds=rounds, slices=2, device=device)
    ratio, rate = spread(sampling.seconds / drawing.seconds), 1 / float(np.median(sampling.seconds))
    return {
        "nets_per_second": rate,
        "over_floor": ratio.median,
        "range": ratio[1:],
        "rounds": rounds,
        FINDING: f"{rate:.3g} nets per second; {ratio.text()} times as long as only drawing the weights",
    }


def estimated_bytes(net: FullyConnected, device: str) -> int:
    """Return the estimated memory: the weights of one net, and the largest layer of a chunk of nets."""
    largest = max(parameter.nbytes for parameter in net.parameters())
    return sum(parameter.nbytes for parameter in net.parameters()) + chunk_size(net, device) * largest


def sampled(
    net: FullyConnected, job: EnsembleJob, device: str, first: int, nets: int, *, scale: float = 2.0, seed: int = 0
) -> Array:
    """Sample log M_d / M_0 of nets `first` … `nets` − 1, whose weights have the variance scale / fan_in."""
    ensemble = Ensemble(lambda: net, VarianceScaling(scale), job.inputs(device), seed=seed)
    return sampled_log_ratios(ensemble, nets, first=first)


def within(draw: Callable[[int, int], Array], seconds: float, *, largest: int = LARGEST) -> tuple[Array, float]:
    """Sample as many nets as a time limit allows.

    Args:
        draw: Function (first, nets) that samples nets `first` … `nets` − 1; each call doubles the number of nets.
        seconds: Time limit.
        largest: Largest number of nets.
    Returns:
        The samples of all nets, and the seconds that they took.
    """
    began = time.monotonic()
    count = min(FIRST, largest)
    parts = [draw(0, count)]
    while count < largest and 2 * (time.monotonic() - began) < seconds:
        more = min(2 * count, largest)
        parts.append(draw(count, more))
        count = more
    return np.concatenate(parts), time.monotonic() - began
