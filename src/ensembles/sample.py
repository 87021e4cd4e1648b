"""Sample the lengths of many nets at initialization: one call, whatever the net."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from start_training.ensembles import layerwise, vectorized
from start_training.ensembles.reference import sample_reference
from start_training.initializers.initialize import FillTensor, is_thread_safe, name_of
from start_training.settings import one_of, whole_number
from start_training.streams import isolate_random_streams

SAMPLERS = ("layerwise", "vectorized", "reference")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """Independently initialized nets: how to build one, how its weights are drawn, and what goes in.

    inputs: (N, …); net k is given `samples` of them in order, beginning with input k · samples modulo N, and its
    length is the mean over them. Net k depends on `seed`, k and the sampler alone: not on how many nets there are,
    nor on threads; but on the device, whose stream of random numbers it is drawn from.
    """

    build: Callable[[], nn.Module]
    initializer: FillTensor
    inputs: Tensor
    seed: int = 0
    readout_initializer: FillTensor | None = None
    samples: int = 1

    def choose_sampler(self) -> str:
        """The fastest sampler that can run this net: `layerwise`, `vectorized`, or `reference`."""
        net, device = self._built(), self.inputs.device
        if layerwise.supports(net):
            return "layerwise"
        try:
            vectorized.sample_vectorized(net, self.initializer, self.inputs_of(range(2)), generator=Generator(device))
        except Exception:  # whatever torch says of a forward pass that it cannot vectorize
            return "reference"
        return "vectorized"

    def log_lengths(
        self, nets: int, *, first: int = 0, sampler: str = "auto", threads: int | None = None
    ) -> Iterator[Array]:
        """log M_0 … log M_d of nets `first` … `nets` − 1, in blocks (nets of a block, d + 1), in order.

        A dead layer is −inf. `first` is where an earlier call's blocks ended. threads: of torch, its own number by
        default; only the layerwise sampler uses several. Raises ValueError for an unknown sampler, a layerwise
        one of a net that it does not know, or weights that are not finite.
        """
        whole_number("nets", nets)
        sampler = self.choose_sampler() if sampler == "auto" else one_of("sampler", sampler, (*SAMPLERS, "auto"))
        net = self._built()
        if sampler == "layerwise" and not layerwise.supports(net):
            raise ValueError(f"sampler = layerwise: knows no {type(net).__name__}, or not with dropout")
        chunks = _chunks(first, nets, self._chunk_size(net, sampler))
        threads = threads or torch.get_num_threads() if is_thread_safe(self.initializer) else 1
        if sampler != "layerwise" or self.inputs.device.type != "cpu":
            threads = 0
        for chunk, lengths in _in_order(lambda chunk: self._sample(net, sampler, chunk), chunks, threads):
            if np.isnan(lengths).any():
                raise ValueError(f"initializer = {name_of(self.initializer)}: gives lengths that are not numbers")
            yield lengths[chunk.skipped : nets - chunk.nets.start]

    def _built(self) -> nn.Module:
        with isolate_random_streams(Generator().manual_seed(self.seed)):  # of what its constructor draws for itself
            return self.build().to(self.inputs.device)

    def _chunk_size(self, net: nn.Module, sampler: str) -> int:
        if sampler == "reference":
            return 1
        module = layerwise if sampler == "layerwise" else vectorized
        return module.chunk_size(net, self.inputs.device.type)

    def _sample(self, net: nn.Module, sampler: str, chunk: "_Chunk") -> Array:
        generator = Generator(self.inputs.device).manual_seed(chunk.seed(self.seed))
        inputs = self.inputs_of(chunk.nets)
        if sampler == "layerwise":
            return layerwise.sample_layerwise(net, self.initializer, inputs, generator=generator)
        readout = self.readout_initializer
        if sampler == "vectorized":
            return vectorized.sample_vectorized(
                net, self.initializer, inputs, generator=generator, readout_initializer=readout
            )
        return sample_reference(self.build, self.initializer, inputs, generator=generator, readout_initializer=readout)

    def inputs_of(self, nets: range) -> Tensor:
        """What these nets are given, (nets, samples, …)."""
        index = torch.arange(nets.start * self.samples, nets.stop * self.samples) % len(self.inputs)
        return self.inputs[index.to(self.inputs.device)].unflatten(0, (len(nets), self.samples))


@dataclass(frozen=True)
class _Chunk:
    nets: range
    skipped: int  # nets at its beginning that were sampled before, and are drawn again to get to the others

    def seed(self, seed: int) -> int:
        """Of the chunk's generator: far apart for neighbouring seeds and chunks."""
        state = np.random.SeedSequence((seed, self.nets.start)).generate_state(1, np.uint64)
        return int(state[0] >> np.uint64(1))


def _chunks(first: int, nets: int, size: int) -> Iterator[_Chunk]:
    """Always the same chunks, whole ones, wherever an earlier call ended; only what is beyond `nets` is cut off."""
    for start in range(first // size * size, nets if first < nets else 0, size):
        yield _Chunk(range(start, start + size), max(first - start, 0))


def _in_order(
    work: Callable[[_Chunk], Array], chunks: Iterator[_Chunk], threads: int
) -> Iterator[tuple[_Chunk, Array]]:
    """Each chunk with its result, in order, at most two a thread ahead of what is taken; by this thread itself if 0."""
    if not threads:
        for chunk in chunks:
            yield chunk, work(chunk)
        return
    waiting: deque[tuple[_Chunk, Future[Array]]] = deque()
    with _workers(threads) as pool:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(work, chunk)))
            if len(waiting) == 2 * threads:
                oldest, future = waiting.popleft()
                yield oldest, future.result()
        yield from ((chunk, future.result()) for chunk, future in waiting)


@contextmanager
def _workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Python threads, in each of which torch uses one: random numbers are drawn while others are multiplied."""
    of_torch = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C, after the chunks that have begun
        torch.set_num_threads(of_torch)
