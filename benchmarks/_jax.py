"""The task of the benchmark of ensembles in JAX, which is an optional dependency.

A net is a scan over its layers: draw a matrix with the default generator of JAX, multiply, apply ReLU, measure the
length, and divide by its square root. The scan is vmapped over nets and compiled, in float32, on as many threads as XLA
chooses.
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

CHUNKS = (16, 128, 1024)  # numbers of nets that are compiled to run at once; the warm-up chooses the fastest
CHUNK_ORTHOGONAL = 4  # an orthogonal net takes a third of a second
LARGEST_CHUNK_WEIGHTS = 2**24  # most weights of one layer of a chunk: 64 MiB


def installed() -> bool:
    return find_spec("jax") is not None


def jax_way(job: EnsembleJob) -> Way:
    """Return the method that uses JAX, with the fastest chunk size; raise ImportError if JAX is not installed."""
    chunks = (CHUNK_ORTHOGONAL,) if job.distribution == "orthogonal" else CHUNKS
    sizes = sorted({min(chunk, max(LARGEST_CHUNK_WEIGHTS // job.width**2, 1)) for chunk in chunks})
    ways = [Way("jax.vmap", partial(_work, _compiled(job, size), size), size) for size in sizes]
    for way in ways:
        way.work(way.unit, 0)  # compiles the function
    return min(ways, key=lambda way: least_seconds(lambda: way.work(sizes[-1], 0), calls=2))


def environment() -> dict[str, str]:
    """Return the version of JAX and the device on which it runs."""
    if not installed():
        return {"jax": "not installed"}
    jax: Any = import_module("jax")
    return {"jax": jax.__version__, "jax on": str(jax.devices()[0].device_kind)}


def _work(chunk_of: Callable[[int], Any], size: int, nets: int, seed: int) -> Array:
    # JAX computes asynchronously: start all chunks before waiting for the first result.
    chunks = [chunk_of(seed * 100_000 + index) for index in range(-(-nets // size))]
    return np.concatenate([np.asarray(chunk, dtype=np.float64) for chunk in chunks])


def _compiled(job: EnsembleJob, nets: int) -> Callable[[int], Any]:
    """Return a compiled function of a seed that returns log M_d / M_0, shape (nets,).

    It computes the lengths of all layers, as the other methods do.
    """
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
    """Draw the weights of one layer, shape (width, width); truncated normal weights are not rescaled, as in torch."""
    shape, deviation = (job.width, job.width), math.sqrt(2 / job.width)
    if job.distribution == "orthogonal":
        return math.sqrt(2) * jax.random.orthogonal(key, job.width)
    if job.distribution == "uniform":
        bound = math.sqrt(3) * deviation
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
    if job.distribution == "truncated_normal":
        return deviation * jax.random.truncated_normal(key, -CUT, CUT, shape)
    return deviation * jax.random.normal(key, shape)
