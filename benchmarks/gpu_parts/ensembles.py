"""Ensembles on the device: nets of width 10,000, one matrix of which has 10⁸ weights, and many of width 100.

Nets are built and drawn on the device. Law: the mean of log M_d / M_0 against that of the exact law of normal weights
(Hanin & Rolnick 2018, arXiv:1803.01719), in standard errors, of which 4 would be another law; a negative control adds
10% to the variance of the weights. Memory: the peak against its estimate, the net that gives the shapes and the buffer
of one layer's weights; activations are small beside them. Time: of a net, and over that of drawing as many weights and
doing nothing else.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks._drawing import draw_weights
from benchmarks._interleaved import Array, median_of_rounds
from benchmarks._job import FLOOR, OURS, Job
from benchmarks._turns import Way, sigmas, take_turns
from benchmarks.gpu_parts.parts import FINDING, Measurement
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.ensembles.layerwise import chunk_size
from start_training.ensembles.sample import Ensemble
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected

WIDE, NARROW = Job(10, 10_000, "normal"), Job(100, 100, "normal")
TINY_WIDE, TINY_NARROW = Job(2, 64, "normal"), Job(2, 16, "normal")
FIRST = 4  # nets whose time is looked at before more are drawn
LARGEST = 2000  # nets
LAW_NETS = 100_000
CONTROL = 1.1  # times the variance of the weights


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """What is new on a GPU first: width 10,000."""
    wide, narrow = (TINY_WIDE, TINY_NARROW) if tiny else (WIDE, NARROW)
    rounds = 1 if tiny else 3
    return [
        Measurement(f"{wide.depth} x {wide.width:,}, law", partial(law_and_memory, wide, device), 3),
        *(
            Measurement(f"{job.depth} x {job.width:,}, time", partial(times, job, device, rounds))
            for job in (wide, narrow)
        ),
    ]


def law_and_memory(job: Job, device: str, seconds: float) -> dict[str, Any]:
    """Of as many nets as two thirds of the time allow; the rest is for the control."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    net = built_on(device, job)
    ratios, taken = within(partial(sampled, net, job, device), seconds * 2 / 3)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    others, _ = within(partial(sampled, net, job, device, scale=2 * CONTROL), seconds / 3, largest=len(ratios))
    law = net.law(job.initializer)
    assert law is not None
    exact = sample_gaussian_law(law, LAW_NETS, generator=np.random.default_rng(0))[:, -1]
    apart, control = sigmas(ratios, exact), sigmas(others, exact)
    estimate = estimated_bytes(net, device) / 2**20
    told: dict[str, Any] = {
        "nets": len(ratios),
        "seconds_per_net": taken / len(ratios),
        "sigmas": apart,
        "control_sigmas": control,
    }
    told |= {"agree": apart < 4, "control_seen": control > 4, "peak_mebibytes": peak, "estimated_mebibytes": estimate}
    words = f"{len(ratios)} nets, {taken / len(ratios):.3g} s each; {apart:.1f} σ from the law, control {control:.0f} σ"
    return {**told, FINDING: f"{words}; {f'{peak:,.0f} MiB, ' if peak else ''}estimated {estimate:,.0f} MiB"}


def times(job: Job, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Of a net, and over that of drawing its weights; median and range of rounds."""
    net = built_on(device, job)

    def draw(nets: int, seed: int) -> None:
        draw_weights("normal", nets * job.weights, seed=seed, device=device)

    ways = [Way(OURS, lambda nets, seed: sampled(net, job, device, 0, nets, seed=seed), chunk_size(net, device))]
    ours, floor = take_turns([*ways, Way(FLOOR, draw)], rounds=rounds, slices=2, device=device)
    ratio, *ends = median_of_rounds(np.median(ours.seconds / floor.seconds, axis=1))
    rate = 1 / float(np.median(ours.seconds))
    words = f"{rate:.3g} nets a second; {ratio:.2f} ({ends[0]:.2f}–{ends[1]:.2f}) times as long as drawing them"
    return {"nets_per_second": rate, "over_floor": ratio, "range": ends, "rounds": rounds, FINDING: words}


def built_on(device: str, job: Job) -> FullyConnected:
    """A net whose weights have never been anywhere else."""
    with torch.device(device):
        return job.build()


def estimated_bytes(net: FullyConnected, device: str) -> int:
    """The net's weights, and those of a chunk of nets of the layer that has most."""
    largest = max(parameter.nbytes for parameter in net.parameters())
    return sum(parameter.nbytes for parameter in net.parameters()) + chunk_size(net, device) * largest


def sampled(
    net: FullyConnected, job: Job, device: str, first: int, nets: int, *, scale: float = 2.0, seed: int = 0
) -> Array:
    """log M_d / M_0 of nets `first` … `nets` − 1."""
    ensemble = Ensemble(lambda: net, VarianceScaling(scale), job.input().unsqueeze(0).to(device), seed=seed)
    blocks = list(ensemble.log_lengths(nets, first=first, sampler="layerwise"))
    return np.concatenate([block[:, -1] - block[:, 0] for block in blocks])


def within(draw: Callable[[int, int], Array], seconds: float, *, largest: int = LARGEST) -> tuple[Array, float]:
    """`draw(first, nets)` of nets 0, 1, …, twice as many each time while time allows; and the seconds it took."""
    began = time.monotonic()
    parts, count = [draw(0, min(FIRST, largest))], min(FIRST, largest)
    while count < largest and 2 * (time.monotonic() - began) < seconds:
        more = min(2 * count, largest)
        parts.append(draw(count, more))
        count = more
    return np.concatenate(parts), time.monotonic() - began
