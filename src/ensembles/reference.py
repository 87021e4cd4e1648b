"""The slow, obvious sampler: build each net, initialize it, run it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor, nn

from start_training.ensembles.scaled import Array
from start_training.initializers.initialize import FillTensor, initialize_
from start_training.lengths.capture import Capture
from start_training.streams import isolate_random_streams


@torch.no_grad()
def sample_reference(
    build: Callable[[], nn.Module],
    initializer: FillTensor,
    inputs: Tensor,
    *,
    generator: Generator,
    readout_initializer: FillTensor | None = None,
) -> Array:
    """log M_0 … log M_d of independently built and initialized nets.

    Args:
        build: Returns a new net. Parameters that the initializer does not fill keep what the constructor drew.
        initializer: See `initialize_`.
        inputs: Shape (nets, samples, …).
        generator: The source of all random numbers.
        readout_initializer: See `initialize_`.

    Returns:
        Shape (nets, d + 1), each length the mean over the net's samples.
    """
    lengths = []
    for samples in inputs:
        with isolate_random_streams(generator):  # from which the constructor and dropout draw
            net = build().to(inputs.device)
            initialize_(net, initializer, readout_initializer=readout_initializer, generator=generator)
            capture = Capture(net)
            capture.start()
            net(samples)
        lengths.append([float(reading.lengths.mean()) for reading in capture.stop()])
    with np.errstate(divide="ignore"):
        return np.log(np.array(lengths))
