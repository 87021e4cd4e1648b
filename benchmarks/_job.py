"""The jobs that ensembles are timed at, and torch's ways to do them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from benchmarks._drawing import FILLS, draw_weights
from benchmarks._turns import Array, Way
from start_training.ensembles import layerwise, vectorized
from start_training.ensembles.gaussian_law import sample_gaussian_law
from start_training.ensembles.sample import Ensemble
from start_training.initializers.initializer import Initializer
from start_training.initializers.orthogonal import Orthogonal
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.fully_connected import FullyConnected

OURS = "layerwise"
FLOOR = "draw, 1 thread"
REFERENCE = "reference"
LAW = "exact law"
LAW_NETS = 1000  # at a time, by numpy


@dataclass(frozen=True)
class Job:
    """log M_d / M_0 of fully connected ReLU nets, at one input of length 1.

    distribution: one of VarianceScaling's, He-scaled, or `orthogonal`.
    """

    depth: int
    width: int
    distribution: str

    def __str__(self) -> str:
        return f"{self.depth} x {self.width}, {self.distribution}"

    @property
    def weights(self) -> int:
        """Of the measured layers of a net."""
        return self.depth * self.width**2

    @property
    def initializer(self) -> Initializer:
        orthogonal = self.distribution == "orthogonal"
        return Orthogonal() if orthogonal else VarianceScaling(2.0, distribution=self.distribution)

    def build(self) -> FullyConnected:
        return FullyConnected(self.width, 10, depth=self.depth, width=self.width)

    @cached_property
    def net(self) -> FullyConnected:
        """For the samplers that build only one, once in a job of however many slices."""
        return self.build()

    def input(self) -> torch.Tensor:
        """(width,), of length 1."""
        normal = torch.randn(self.width, generator=torch.Generator().manual_seed(0))
        return normal / normal.square().mean().sqrt()


def torch_ways(job: Job, device: str = "cpu") -> list[Way]:
    """Ours first; on a GPU without threads. The exact law, of Gaussian weights only, is numpy's."""
    threads = torch.get_num_threads() if device == "cpu" else 1
    chunk = layerwise.chunk_size(job.net, device)
    ways = [Way(OURS, _sampler(job, "layerwise", device, threads), chunk * threads), *_floors(job, device, threads)]
    if threads > 1:
        ways.append(Way("layerwise, 1 thread", _sampler(job, "layerwise", device, 1), chunk))
    job.net.to(device)
    ways.append(Way("vectorized", _sampler(job, "vectorized", device), vectorized.chunk_size(job.net, device)))
    ways.append(Way(REFERENCE, _sampler(job, "reference", device)))
    law = job.net.law(job.initializer)
    if law is not None and law.gaussian:
        ways.append(Way(LAW, _exact_law(job), LAW_NETS))
    return ways


def _floors(job: Job, device: str, threads: int) -> list[Way]:
    """Drawing normal weights, or uniform ones where the job does; of truncated ones also by torch's own function."""
    floor = "uniform" if job.distribution == "uniform" else "normal"
    ways = [Way(FLOOR, _drawing(job, floor, device, 1))]
    if threads > 1:
        ways.append(Way(f"draw, {threads} threads", _drawing(job, floor, device, threads)))
    if job.distribution in FILLS and job.distribution != floor:
        ways.append(Way(FILLS[job.distribution][0], _drawing(job, job.distribution, device, 1)))
    return ways


def _drawing(job: Job, distribution: str, device: str, threads: int) -> Callable[[int, int], None]:
    def work(nets: int, seed: int) -> None:
        draw_weights(distribution, nets * job.weights, seed=seed, device=device, threads=threads)

    return work


def _sampler(job: Job, sampler: str, device: str, threads: int | None = None) -> Callable[[int, int], Array]:
    build = job.build if sampler == "reference" else lambda: job.net
    inputs = job.input().unsqueeze(0).to(device)

    def work(nets: int, seed: int) -> Array:
        ensemble, of_torch = Ensemble(build, job.initializer, inputs, seed=seed), torch.get_num_threads()
        torch.set_num_threads(threads or of_torch)  # the caller's thread works too where there is but one
        blocks = list(ensemble.log_lengths(nets, sampler=sampler, threads=threads))
        torch.set_num_threads(of_torch)
        return np.concatenate([block[:, -1] - block[:, 0] for block in blocks])

    return work


def _exact_law(job: Job) -> Callable[[int, int], Array]:
    law = job.net.law(job.initializer)
    assert law is not None

    def work(nets: int, seed: int) -> Array:
        return sample_gaussian_law(law, nets, generator=np.random.default_rng(seed))[:, -1]

    return work
