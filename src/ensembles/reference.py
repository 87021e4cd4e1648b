"""The slow, obvious sampler: build each net, initialize it, run it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

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
) -> NDArray[np.float64]:
    """log M_0 … log M_d of as many nets as `inputs`, of shape (nets, samples, …), has; (nets, d + 1).

    What `build` draws for itself stays as it is where the initializer does not fill it; each net has its own.
    """
    lengths = []
    for samples in inputs:
        with isolate_random_streams(generator):  # of what the constructor draws, and dropout
            net = build().to(inputs.device)
            initialize_(net, initializer, readout_initializer=readout_initializer, generator=generator)
            capture = Capture(net)
            capture.start()
            net(samples)
        lengths.append([float(reading.lengths.mean()) for reading in capture.stop()])
    with np.errstate(divide="ignore"):
        return np.log(np.array(lengths))
