"""The same job in JAX, which need not be installed.

A net is a scan over its layers: draw a matrix by JAX's default generator, multiply, ReLU, measure the length, divide by
its root. Nets are vmapped and the whole is compiled, in float32, on as many threads as XLA chooses.
"""

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks._ensemble_ways import EnsembleJob, Way
from benchmarks._measuring import Array, least_seconds
from start_training.initializers.variance_scaling import CUT

CHUNKS = (16, 128, 1024)  # nets compiled to run at once: the warm-up decides
CHUNK_ORTHOGONAL = 4  # each net takes a third of a second
LARGEST_CHUNK_WEIGHTS = 2**24  # of one layer: 64 MiB


def installed() -> bool:
    return find_spec("jax") is not None


def jax_way(job: EnsembleJob) -> Way:
    """With the chunk that is the fastest here. Raises ImportError without JAX."""
    chunks = (CHUNK_ORTHOGONAL,) if job.distribution == "orthogonal" else CHUNKS
    sizes = sorted({min(chunk, max(LARGEST_CHUNK_WEIGHTS // job.width**2, 1)) for chunk in chunks})
    ways = [Way("jax.vmap", partial(_work, _compiled(job, size), size), size) for size in sizes]
    for way in ways:
        way.work(way.unit, 0)  # compiles
    return min(ways, key=lambda way: least_seconds(lambda: way.work(sizes[-1], 0), calls=2))


def environment() -> dict[str, str]:
    """JAX's version and where it runs."""
    if not installed():
        return {"jax": "not installed"}
    jax: Any = import_module("jax")
    return {"jax": jax.__version__, "jax on": str(jax.devices()[0].device_kind)}


def _work(chunk_of: Callable[[int], Any], size: int, nets: int, seed: int) -> Array:
    # All are dispatched before the first is waited for.
    chunks = [chunk_of(seed * 100_000 + index) for index in range(-(-nets // size))]
    return np.concatenate([np.asarray(chunk, dtype=np.float64) for chunk in chunks])


def _compiled(job: EnsembleJob, nets: int) -> Callable[[int], Any]:
    """From a seed to log M_d / M_0, (nets,); every layer's is computed, as in the other ways."""
    jax: Any = import_module("jax")
    numpy: Any = import_module("jax.numpy")
    start = numpy.asarray(job.inputs()[0].numpy())

    def layer(activation: Any, key: Any) -> tuple[Any, Any]:
        outputs = jax.nn.relu(_matrix(jax, key, job) @ activation)
        length = numpy.square(outputs).mean()
        return outputs * numpy.where(length > 0, jax.lax.rsqrt(length), 0.0), numpy.log(length)

    def net(key: Any) -> Any:
        _, growth = jax.lax.scan(layer, start, jax.random.split(key, job.depth))
        return numpy.cumsum(growth)

    compiled = jax.jit(lambda seed: jax.vmap(net)(jax.random.split(jax.random.key(seed), nets)))
    return lambda seed: compiled(seed)[:, -1]


def _matrix(jax: Any, key: Any, job: EnsembleJob) -> Any:
    """One layer's weights, (width, width); truncated ones not rescaled, like ours."""
    shape, deviation = (job.width, job.width), math.sqrt(2 / job.width)
    if job.distribution == "orthogonal":
        return math.sqrt(2) * jax.random.orthogonal(key, job.width)
    if job.distribution == "uniform":
        bound = math.sqrt(3) * deviation
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
    if job.distribution == "truncated_normal":
        return deviation * jax.random.truncated_normal(key, -CUT, CUT, shape)
    return deviation * jax.random.normal(key, shape)
