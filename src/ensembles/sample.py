"""Sample the lengths of many nets at initialization, by the fastest sampler that supports the net."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor, nn

from start_training.ensembles import layerwise, vectorized
from start_training.ensembles.reference import build_for, sample_reference
from start_training.ensembles.scaled import Array
from start_training.initializers.drawing import FillTensor, accepts_generator, name_of
from start_training.settings import OneOf, WholeNumber, checked
from start_training.streams import isolate_random_streams

SAMPLERS = ("layerwise", "vectorized", "reference")


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of independently initialized nets.

    Net k depends on `seed`, k, the sampler and the device, whose random numbers are used; it depends neither on the
    number of nets nor on the number of threads.

    Attributes:
        build: Function that returns a new net.
        initializer: Initializer of the weights, as in `initialize_`.
        inputs: Shape (N, …), on the device on which nets are sampled. Net k gets the `samples` consecutive inputs that
            begin at index k · samples modulo N.
        seed: Seed of the whole ensemble.
        readout_initializer: Initializer of the readout; None: the same as of the other layers.
        samples: Number of inputs of each net. The length M_j of a net is the mean over them.

    Example:
        >>> from start_training.initializers.variance_scaling import VarianceScaling
        >>> from start_training.models.fully_connected import FullyConnected
        >>> build = partial(FullyConnected, 20, 10, depth=5, width=20)
        >>> ensemble = Ensemble(build, VarianceScaling(2.0), torch.ones(1, 20))
        >>> np.concatenate(list(ensemble.log_lengths(100))).shape
        (100, 6)
    """

    build: Callable[[], nn.Module]
    initializer: FillTensor
    inputs: Tensor
    seed: int = 0
    readout_initializer: FillTensor | None = None
    samples: int = 1

    def choose_sampler(self) -> str:
        """Return the name of the fastest of `SAMPLERS` that supports this net."""
        net, device = self._built(), self.inputs.device
        if layerwise.supports(net):
            return "layerwise"
        try:
            vectorized.sample_vectorized(net, self.initializer, self.inputs_of(range(2)), generator=Generator(device))
        except Exception:  # torch raises various errors for a forward pass that it cannot vectorize
            return "reference"
        return "vectorized"

    @checked
    def log_lengths(
        self,
        nets: WholeNumber,
        *,
        first: int = 0,
        sampler: Annotated[str, OneOf((*SAMPLERS, "auto"))] = "auto",
        threads: int | None = None,
    ) -> Iterator[Array]:
        """Yield log M_0 … log M_d of nets `first` … `nets` − 1 in blocks, by increasing number of the net.

        Args:
            nets: Number of nets of the ensemble; the last one sampled is net `nets` − 1.
            first: Number of the first net to sample, so that a later call can continue an earlier one.
            sampler: One of `SAMPLERS`, or `auto` for the fastest that supports the net.
            threads: Number of threads of the layerwise sampler on a CPU; other samplers ignore it. None: the number of
                threads of torch.

        Returns:
            Blocks of shape (nets in the block, d + 1); a dead layer is −inf.

        Raises:
            ValueError: the sampler is unknown or is `layerwise` and does not support the net, or the initializer draws
                weights that give NaN lengths.
        """
        return self._blocks(nets, first, self.choose_sampler() if sampler == "auto" else sampler, threads)

    def _blocks(self, nets: int, first: int, sampler: str, threads: int | None) -> Iterator[Array]:
        net = self._built()
        if sampler == "layerwise" and not layerwise.supports(net):
            raise ValueError(
                "sampler = layerwise: only supports FullyConnected and Residual nets without dropout, not this "
                f"{type(net).__name__}; set sampler=auto"
            )
        # Chunks always begin at multiples of their size, so that net k does not depend on where a call begins.
        size = self._chunk_size(net, sampler)
        starts = range(first // size * size, nets if first < nets else 0, size)
        chunks = [range(start, start + size) for start in starts]
        threads = threads or torch.get_num_threads() if accepts_generator(self.initializer) else 1
        work = partial(self._sample, net, sampler)
        parallel = sampler == "layerwise" and self.inputs.device.type == "cpu"
        results = _in_order(work, chunks, threads) if parallel else map(work, chunks)
        for chunk, lengths in zip(chunks, results, strict=True):
            if np.isnan(lengths).any():
                raise ValueError(f"initializer = {name_of(self.initializer)}: its weights give lengths that are NaN")
            yield lengths[max(first - chunk.start, 0) : nets - chunk.start]

    def _built(self) -> nn.Module:
        with isolate_random_streams(Generator().manual_seed(self.seed)):  # the constructor may draw weights
            return build_for(self.build, self.inputs)

    def _chunk_size(self, net: nn.Module, sampler: str) -> int:
        if sampler == "reference":
            return 1
        module = layerwise if sampler == "layerwise" else vectorized
        return module.chunk_size(net, self.inputs.device.type)

    def _sample(self, net: nn.Module, sampler: str, nets: range) -> Array:
        # SeedSequence makes the random numbers of ensembles and chunks with neighbouring numbers independent.
        [state] = np.random.SeedSequence((self.seed, nets.start)).generate_state(1, np.uint64)
        generator = Generator(self.inputs.device).manual_seed(int(state >> np.uint64(1)))
        inputs, readout = self.inputs_of(nets), self.readout_initializer
        if sampler == "layerwise":
            return layerwise.sample_layerwise(net, self.initializer, inputs, generator=generator)
        if sampler == "vectorized":
            return vectorized.sample_vectorized(
                net, self.initializer, inputs, generator=generator, readout_initializer=readout
            )
        return sample_reference(self.build, self.initializer, inputs, generator=generator, readout_initializer=readout)

    def inputs_of(self, nets: range) -> Tensor:
        """Return the inputs of the nets with these numbers, shape (nets, samples, …)."""
        index = torch.arange(nets.start * self.samples, nets.stop * self.samples) % len(self.inputs)
        return self.inputs[index.to(self.inputs.device)].unflatten(0, (len(nets), self.samples))


def _in_order(work: Callable[[range], Array], chunks: Sequence[range], threads: int) -> Iterator[Array]:
    """Yield the result of each chunk in order, computing at most two chunks per thread ahead of the consumer.

    Within each Python thread, torch uses a single thread, so that some threads draw random numbers while others
    multiply matrices.
    """
    threads_of_torch = torch.get_num_threads()
    pending: deque[Future[Array]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for chunk in chunks:
            pending.append(pool.submit(work, chunk))
            if len(pending) == 2 * threads:
                yield pending.popleft().result()
        yield from (future.result() for future in pending)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, wait only for the chunks that are being computed
        torch.set_num_threads(threads_of_torch)
