"""Sample the lengths of many nets at initialization, whatever the net."""

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
from start_training.ensembles.reference import sample_reference
from start_training.ensembles.scaled import Array
from start_training.initializers.initialize import FillTensor, accepts_generator, name_of
from start_training.settings import OneOf, WholeNumber, checked
from start_training.streams import isolate_random_streams

SAMPLERS = ("layerwise", "vectorized", "reference")


@dataclass(frozen=True)
class Ensemble:
    """Independently initialized nets.

    Net k depends on `seed`, k, the sampler, and the device, whose random numbers it is drawn from; neither on the
    number of nets nor on threads.

    Attributes:
        build: Returns a new net.
        initializer: Draws the weights, as in `initialize_`.
        inputs: Shape (N, …), on the device on which nets are sampled. Net k is given `samples` of them in order,
            beginning with input k · samples modulo N.
        seed: Of all nets together.
        readout_initializer: Draws the readout's weights; None: as the others.
        samples: Inputs of each net. Its length M_j is the mean over them.

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
        """The fastest of `SAMPLERS` that supports this net."""
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
        """log M_0 … log M_d of nets `first` … `nets` − 1, in blocks and in order.

        Args:
            nets: One more than the number of the last net.
            first: The first net, to go on where an earlier call ended.
            sampler: One of `SAMPLERS`, or `auto` for the fastest that supports the net.
            threads: Of the layerwise sampler on a CPU, the only one that uses several; None: as many as torch uses.

        Returns:
            Blocks of shape (nets in the block, d + 1); a dead layer is −inf.

        Raises:
            ValueError: an unknown sampler, the layerwise sampler with a net that it does not support, or an
                initializer that gives weights that are not finite.
        """
        return self._blocks(nets, first, self.choose_sampler() if sampler == "auto" else sampler, threads)

    def _blocks(self, nets: int, first: int, sampler: str, threads: int | None) -> Iterator[Array]:
        net = self._built()
        if sampler == "layerwise" and not layerwise.supports(net):
            raise ValueError(f"sampler = layerwise: knows no {type(net).__name__}, or not with dropout")
        # Always the same whole chunks, wherever an earlier call ended, so that net k is the same net.
        size = self._chunk_size(net, sampler)
        starts = range(first // size * size, nets if first < nets else 0, size)
        chunks = [range(start, start + size) for start in starts]
        threads = threads or torch.get_num_threads() if accepts_generator(self.initializer) else 1
        work = partial(self._sample, net, sampler)
        parallel = sampler == "layerwise" and self.inputs.device.type == "cpu"
        results = _in_order(work, chunks, threads) if parallel else map(work, chunks)
        for chunk, lengths in zip(chunks, results, strict=True):
            if np.isnan(lengths).any():
                raise ValueError(f"initializer = {name_of(self.initializer)}: gives lengths that are not numbers")
            yield lengths[max(first - chunk.start, 0) : nets - chunk.start]

    def _built(self) -> nn.Module:
        with isolate_random_streams(Generator().manual_seed(self.seed)):  # from which its constructor may draw
            return self.build().to(self.inputs.device)

    def _chunk_size(self, net: nn.Module, sampler: str) -> int:
        if sampler == "reference":
            return 1
        module = layerwise if sampler == "layerwise" else vectorized
        return module.chunk_size(net, self.inputs.device.type)

    def _sample(self, net: nn.Module, sampler: str, nets: range) -> Array:
        # Seeds of neighbouring ensembles and chunks have nothing in common.
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
        """The inputs of these nets, (nets, samples, …)."""
        index = torch.arange(nets.start * self.samples, nets.stop * self.samples) % len(self.inputs)
        return self.inputs[index.to(self.inputs.device)].unflatten(0, (len(nets), self.samples))


def _in_order(work: Callable[[range], Array], chunks: Sequence[range], threads: int) -> Iterator[Array]:
    """The result of each chunk in order, computed at most two chunks a thread ahead of the consumer.

    Torch uses one thread within each of the Python threads: some draw random numbers while others multiply.
    """
    of_torch = torch.get_num_threads()
    waiting: deque[Future[Array]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, as soon as the chunks end that have begun
        torch.set_num_threads(of_torch)
