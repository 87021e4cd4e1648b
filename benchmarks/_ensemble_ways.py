"""The jobs that ensembles are timed at, torch's ways to do them, and how slices of nets are timed in turns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import sem
from torch import Generator, Tensor, nn

from benchmarks._measuring import Array, in_turns, least_seconds, now, single_threaded_pool
from start_training.ensembles import layerwise, vectorized
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.ensembles.sample import Ensemble
from start_training.initializers.initializer import Initializer
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.variance_scaling import CUT, VarianceScaling
from start_training.models.fully_connected import FullyConnected

OURS = "layerwise"
FLOOR = "draw, 1 thread"
REFERENCE = "reference"
LAW = "exact law"
LAW_NETS = 1000  # at a time, by numpy
Fill = Callable[[Tensor, Generator], object]
# torch's own function of each law. Orthogonal weights start from normal ones; the QR that follows is not counted.
FILLS: dict[str, tuple[str, Fill]] = {
    "normal": ("normal_", lambda buffer, generator: buffer.normal_(generator=generator)),
    "uniform": ("uniform_", lambda buffer, generator: buffer.uniform_(-1, 1, generator=generator)),
    "truncated_normal": (
        "trunc_normal_",
        lambda buffer, generator: nn.init.trunc_normal_(buffer, a=-CUT, b=CUT, generator=generator),
    ),
}


@dataclass(frozen=True)
class EnsembleJob:
    """log M_d / M_0 of fully connected ReLU nets, at one input of length 1.

    distribution: one of VarianceScaling's, He-scaled, or `orthogonal`.
    """

    depth: int
    width: int
    distribution: str = "normal"

    def __str__(self) -> str:
        return f"{self.depth} x {self.width}, {self.distribution}"

    @property
    def initializer(self) -> Initializer:
        orthogonal = self.distribution == "orthogonal"
        return Orthogonal() if orthogonal else VarianceScaling(2.0, distribution=self.distribution)

    def build(self) -> FullyConnected:
        return FullyConnected(self.width, 10, depth=self.depth, width=self.width)

    @cached_property
    def net(self) -> FullyConnected:
        """For the samplers that build only one net, whatever the number of slices."""
        return self.build()

    def inputs(self, device: str = "cpu") -> Tensor:
        """One sample of length 1, (1, width)."""
        normal = torch.randn(1, self.width, generator=torch.Generator().manual_seed(0))
        return (normal / normal.square().mean().sqrt()).to(device)

    def exact_log_ratios(self, nets: int, seed: int) -> Array:
        """log M_d / M_0 of so many nets, drawn from the exact law of Gaussian weights."""
        law = self.net.law(self.initializer)
        assert law is not None
        return sample_gaussian_law(law, nets, generator=np.random.default_rng(seed))[:, -1]


class Way(NamedTuple):
    """`work(nets, seed)` does the job for so many nets, and returns log M_d / M_0 of each, or an empty array.

    It works in whole chunks of `unit` nets: a slice that ended within one would waste the rest of it, as a long job
    does only once.
    """

    name: str
    work: Callable[[int, int], Array]
    unit: int = 1


class SliceTimes(NamedTuple):
    """Of one way: nets per slice, seconds per net (rounds, slices), and log M_d / M_0 of all nets."""

    nets: int
    seconds: Array
    log_ratios: Array


def torch_ways(job: EnsembleJob, device: str = "cpu") -> list[Way]:
    """Ours first; the exact law, of Gaussian weights only, is numpy's. On a GPU nothing uses several threads."""
    threads = torch.get_num_threads() if device == "cpu" else 1
    chunk = layerwise.chunk_size(job.net, device)
    floor = "uniform" if job.distribution == "uniform" else "normal"
    own_fill = job.distribution in FILLS and job.distribution != floor  # torch's own function for truncated weights
    law = job.net.law(job.initializer)
    job.net.to(device)
    draw, sample = partial(draw_job, job), partial(_sample, job)
    return [
        Way(OURS, partial(sample, OURS, device, threads), chunk * threads),
        Way(FLOOR, partial(draw, floor, device, 1)),
        *([Way(f"draw, {threads} threads", partial(draw, floor, device, threads))] if threads > 1 else []),
        *([Way(FILLS[job.distribution][0], partial(draw, job.distribution, device, 1))] if own_fill else []),
        *([Way("layerwise, 1 thread", partial(sample, OURS, device, 1), chunk)] if threads > 1 else []),
        Way("vectorized", partial(sample, "vectorized", device, None), vectorized.chunk_size(job.net, device)),
        Way(REFERENCE, partial(sample, REFERENCE, device, None)),
        *([Way(LAW, job.exact_log_ratios, LAW_NETS)] if law is not None and law.gaussian else []),
    ]


def draw_job(job: EnsembleJob, distribution: str, device: str, threads: int, nets: int, seed: int) -> Array:
    """Draw as many weights as a job's nets have, and do nothing else with them; returns an empty array.

    They go into one buffer, as large as a chunk of the layerwise sampler, over and over; shared among `threads`
    generators, because one draws serially, however many threads torch has.
    """
    _, fill = FILLS[distribution]
    weights = nets * job.depth * job.width**2
    shares = [weights * (k + 1) // threads - weights * k // threads for k in range(threads)]
    generators = [Generator(device).manual_seed(seed * threads + k) for k in range(threads)]
    with single_threaded_pool(threads) as pool:
        list(pool.map(partial(_draw, fill), shares, generators))
    return np.empty(0)


def _draw(fill: Fill, weights: int, generator: Generator) -> None:
    buffer = torch.empty(min(weights, layerwise.CHUNK_WEIGHTS[generator.device.type]), device=generator.device)
    for _ in range(weights // len(buffer)):
        fill(buffer, generator)
    if rest := weights % len(buffer):
        fill(buffer[:rest], generator)


def _sample(job: EnsembleJob, sampler: str, device: str, threads: int | None, nets: int, seed: int) -> Array:
    build = job.build if sampler == REFERENCE else lambda: job.net
    ensemble, before = Ensemble(build, job.initializer, job.inputs(device), seed=seed), torch.get_num_threads()
    torch.set_num_threads(threads or before)  # the calling thread is used, too, if there is only one
    ratios = sampled_log_ratios(ensemble, nets, sampler=sampler, threads=threads)
    torch.set_num_threads(before)
    return ratios


def sampled_log_ratios(
    ensemble: Ensemble, nets: int, *, first: int = 0, sampler: str = OURS, threads: int | None = None
) -> Array:
    """log M_d / M_0 of nets `first` … `nets` − 1."""
    blocks = list(ensemble.log_lengths(nets, first=first, sampler=sampler, threads=threads))
    return np.concatenate([block[:, -1] - block[:, 0] for block in blocks])


def time_slices(
    ways: Sequence[Way], *, rounds: int, slices: int, seconds: float = 0.1, device: str = "cpu", nets: int | None = None
) -> list[SliceTimes]:
    """Time all ways in turns, `rounds` of `slices` each, after a warm-up.

    Args:
        ways: Ways to do the same job; no two slices have the same seed.
        rounds: How many.
        slices: Of each way in a round.
        seconds: What a slice should take: it has as many nets as the warm-up did in this time.
        device: `cpu` or `cuda`.
        nets: Of a slice of each way, in place of `seconds`.
    """
    sizes = [nets or _nets_in(seconds, way, device) for way in ways]

    def time_slice(index: int, turn: int) -> tuple[float, Array]:
        start = now(device)
        ratios = ways[index].work(sizes[index], 1 + turn * len(ways) + index)
        return (now(device) - start) / sizes[index], ratios

    turns = in_turns([partial(time_slice, index) for index in range(len(ways))], rounds * slices)
    results = []
    for size, of_way in zip(sizes, zip(*turns, strict=True), strict=True):
        times, ratios = zip(*of_way, strict=True)
        results.append(SliceTimes(size, np.reshape(times, (rounds, slices)), np.concatenate(ratios)))
    return results


def _nets_in(seconds: float, way: Way, device: str) -> int:
    """At least one unit, after a first one, which allocates memory and compiles, is not timed.

    At most tenfold at a time, because the time of few nets is mostly that of beginning.
    """
    way.work(way.unit, 0)
    nets = way.unit
    while (share := least_seconds(partial(way.work, nets, 0), device, calls=1) / seconds) < 0.5:
        nets = way.unit * math.ceil(nets / way.unit * min(1 / share, 10))
    return nets


def sigmas(one: Array, other: Array) -> float:
    """Standard errors between the means of two samples, values that are not finite (dead nets) left out."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    return float(abs(one.mean() - other.mean()) / np.hypot(sem(one), sem(other)))
