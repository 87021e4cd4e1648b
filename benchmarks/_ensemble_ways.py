"""The tasks and methods that the benchmark of ensembles compares, and the timing of slices of nets in turns."""

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
LAW_NETS = 1000  # nets that numpy samples at a time from the exact law
Fill = Callable[[Tensor, Generator], object]
# The torch function of each distribution. Orthogonal weights are drawn from normal ones; their QR decomposition is not
# part of the floor.
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
    """A task: compute log M_d / M_0 of fully connected ReLU nets at one input of length 1.

    Attributes:
        depth: Number of hidden layers.
        width: Number of units of each layer.
        distribution: Distribution of the He-scaled weights: one of `VarianceScaling`, or `orthogonal`.
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
        """A net that all slices share, for samplers that only need its architecture."""
        return self.build()

    def inputs(self, device: str = "cpu") -> Tensor:
        """Return one input of length 1, shape (1, width)."""
        normal = torch.randn(1, self.width, generator=torch.Generator().manual_seed(0))
        return (normal / normal.square().mean().sqrt()).to(device)

    def exact_log_ratios(self, nets: int, seed: int) -> Array:
        """Sample log M_d / M_0 of `nets` nets from the exact law of Gaussian weights, shape (nets,)."""
        law = self.net.law(self.initializer)
        assert law is not None
        return sample_gaussian_law(law, nets, generator=np.random.default_rng(seed))[:, -1]


class Way(NamedTuple):
    """A method to do a task.

    Attributes:
        name: Name of the method.
        work: Function (nets, seed) that does the task for a number of nets and returns log M_d / M_0 of each, or an
            empty array if it only draws weights.
        unit: Number of nets of a chunk. Slices consist of whole chunks, since an incomplete chunk costs as much as a
            whole one.
    """

    name: str
    work: Callable[[int, int], Array]
    unit: int = 1


class SliceTimes(NamedTuple):
    """Times of one method: nets per slice, seconds per net of shape (rounds, slices), and log M_d / M_0 of all nets."""

    nets: int
    seconds: Array
    log_ratios: Array


def torch_ways(job: EnsembleJob, device: str = "cpu") -> list[Way]:
    """Return all methods for a task that use torch or numpy, the layerwise sampler first.

    The exact law is only included for Gaussian weights. On a GPU, no method uses several threads.
    """
    threads = torch.get_num_threads() if device == "cpu" else 1
    chunk = layerwise.chunk_size(job.net, device)
    floor = "uniform" if job.distribution == "uniform" else "normal"
    has_fill = job.distribution in FILLS and job.distribution != floor  # torch has a function for truncated weights
    law = job.net.law(job.initializer)
    job.net.to(device)
    draw, sample = partial(draw_job, job), partial(_sample, job)
    return [
        Way(OURS, partial(sample, OURS, device, threads), chunk * threads),
        Way(FLOOR, partial(draw, floor, device, 1)),
        *([Way(f"draw, {threads} threads", partial(draw, floor, device, threads))] if threads > 1 else []),
        *([Way(FILLS[job.distribution][0], partial(draw, job.distribution, device, 1))] if has_fill else []),
        *([Way("layerwise, 1 thread", partial(sample, OURS, device, 1), chunk)] if threads > 1 else []),
        Way("vectorized", partial(sample, "vectorized", device, None), vectorized.chunk_size(job.net, device)),
        Way(REFERENCE, partial(sample, REFERENCE, device, None)),
        *([Way(LAW, job.exact_log_ratios, LAW_NETS)] if law is not None and law.gaussian else []),
    ]


def draw_job(job: EnsembleJob, distribution: str, device: str, threads: int, nets: int, seed: int) -> Array:
    """Draw as many weights as the nets of a task have, do nothing else, and return an empty array.

    The weights are drawn repeatedly into a buffer as large as a chunk of the layerwise sampler. They are divided among
    `threads` generators, since a single generator does not use several threads.
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
    torch.set_num_threads(threads or before)  # with a single thread, the calling thread computes too
    ratios = sampled_log_ratios(ensemble, nets, sampler=sampler, threads=threads)
    torch.set_num_threads(before)
    return ratios


def sampled_log_ratios(
    ensemble: Ensemble, nets: int, *, first: int = 0, sampler: str = OURS, threads: int | None = None
) -> Array:
    """Return log M_d / M_0 of nets `first` … `nets` − 1 of an ensemble."""
    blocks = list(ensemble.log_lengths(nets, first=first, sampler=sampler, threads=threads))
    return np.concatenate([block[:, -1] - block[:, 0] for block in blocks])


def time_slices(
    ways: Sequence[Way], *, rounds: int, slices: int, seconds: float = 0.1, device: str = "cpu", nets: int | None = None
) -> list[SliceTimes]:
    """Time several methods in turns, after a warm-up.

    Args:
        ways: Methods for the same task; each slice has its own seed.
        rounds: Number of rounds.
        slices: Number of slices of each method in a round.
        seconds: Intended time of a slice; the warm-up determines its number of nets.
        device: `cpu` or `cuda`.
        nets: Number of nets of a slice, instead of `seconds`.
    Returns:
        The times of each method.
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
    """Return the number of nets, in whole chunks, that a method computes in about `seconds`.

    The first chunk, which allocates memory and compiles, is not timed. The number grows at most tenfold at a time,
    since the time of few nets is mostly overhead.
    """
    way.work(way.unit, 0)
    nets = way.unit
    while (share := least_seconds(partial(way.work, nets, 0), device, calls=1) / seconds) < 0.5:
        nets = way.unit * math.ceil(nets / way.unit * min(1 / share, 10))
    return nets


def sigmas(one: Array, other: Array) -> float:
    """Return the distance between the means of two samples in standard errors, without values that are not finite."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    return float(abs(one.mean() - other.mean()) / np.hypot(sem(one), sem(other)))
