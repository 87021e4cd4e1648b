"""Sample the lengths of many nets at initialization, by the fastest sampler that supports the net."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Annotated

import numpy as np
import torch
from torch import Generator, Tensor, nn

from start_training.datamodules.samples import draw_rows
from start_training.ensembles import layerwise, vectorized
from start_training.ensembles.reference import build_for, sample_reference
from start_training.ensembles.scaled import Array
from start_training.initializers.drawing import FillTensor, accepts_generator, name_of
from start_training.settings import OneOf, WholeNumber, checked
from start_training.streams import isolate_random_streams

SAMPLERS = ("layerwise", "vectorized", "reference")
DrawInputs = Callable[[int, np.random.Generator], Tensor]
BLOCK = 64  # inputs drawn at once, by one generator: a generator for each net would cost more than a small net


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of independently initialized nets, each with inputs of its own.

    The inputs of net k depend on `seed`, k and `samples`, its weights on `seed`, k, the sampler and the device, whose
    random numbers are used; neither depends on the number of nets or of threads.

    Weights and inputs of different nets are independent. Therefore the mean X̄ of a quantity X over N nets is unbiased
    for its mean over weights and inputs, and the sample variance over nets divided by N, the squared standard error in
    the module `estimate`, is unbiased for its variance (Var_x E[X | x] + E_x Var[X | x]) / N, with x the inputs of a
    net. Inputs that nets share would leave Var_x E[X | x] out of the standard error.

    Attributes:
        build: Function that returns a new net.
        initializer: Initializer of the weights, as in `initialize_`.
        inputs: A function of a number B and a generator that draws B independent inputs, of shape (B, …); or a data
            set of shape (N, …), from which inputs are drawn at random with replacement. Nets are sampled on the device
            of the inputs.
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
    inputs: Tensor | DrawInputs
    seed: int = 0
    readout_initializer: FillTensor | None = None
    samples: int = 1

    def choose_sampler(self) -> str:
        """Return the name of the fastest of `SAMPLERS` that supports this net."""
        net, inputs = self._built(), self.inputs_of(range(2))
        if layerwise.supports(net):
            return "layerwise"
        try:
            vectorized.sample_vectorized(net, self.initializer, inputs, generator=Generator(inputs.device))
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
        parallel = sampler == "layerwise" and self._device.type == "cpu"
        results = _in_order(work, chunks, threads) if parallel else map(work, chunks)
        for chunk, lengths in zip(chunks, results, strict=True):
            if np.isnan(lengths).any():
                raise ValueError(f"initializer = {name_of(self.initializer)}: its weights give lengths that are NaN")
            yield lengths[max(first - chunk.start, 0) : nets - chunk.start]

    def _built(self) -> nn.Module:
        with isolate_random_streams(Generator().manual_seed(self.seed)):  # the constructor may draw weights
            return build_for(self.build, self.inputs_of(range(1))[0])

    def _chunk_size(self, net: nn.Module, sampler: str) -> int:
        if sampler == "reference":
            return 1
        module = layerwise if sampler == "layerwise" else vectorized
        return module.chunk_size(net, self._device.type)

    def _sample(self, net: nn.Module, sampler: str, nets: range) -> Array:
        # SeedSequence makes the random numbers of ensembles and chunks with neighbouring numbers independent.
        [state] = np.random.SeedSequence((self.seed, nets.start)).generate_state(1, np.uint64)
        generator = Generator(self._device).manual_seed(int(state >> np.uint64(1)))
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
        size = self._block_size
        first, last = nets.start // size, (nets.stop - 1) // size
        inputs = torch.cat([self._block(number) for number in range(first, last + 1)])
        return inputs[nets.start - first * size : nets.stop - first * size]

    @property
    def _block_size(self) -> int:
        """The number of nets whose inputs are drawn at once; it does not depend on the size of chunks."""
        return max(BLOCK // self.samples, 1)

    @cached_property
    def _block(self) -> Callable[[int], Tensor]:
        return lru_cache(maxsize=4)(self._draw_block)  # chunks may be smaller than blocks, or begin within one

    def _draw_block(self, number: int) -> Tensor:
        generator = np.random.default_rng(np.random.SeedSequence((self.seed, number), spawn_key=(1,)))
        count = self._block_size * self.samples
        if count >= 2**31:  # numpy's error for an array larger than any memory is a ValueError, as for a wrong setting
            raise OverflowError(f"{count} inputs of one net")
        if isinstance(self.inputs, Tensor):
            inputs = draw_rows(self.inputs, count, generator)
        else:
            inputs = self.inputs(count, generator)
        return inputs.unflatten(0, (self._block_size, self.samples))

    @cached_property
    def _device(self) -> torch.device:
        return self.inputs_of(range(1)).device


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
