"""The reference sampler, slow and simple: build each net, initialize it and run it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor, nn

from start_training.ensembles.scaled import Array
from start_training.initializers.drawing import FillTensor
from start_training.initializers.initialize import initialize_
from start_training.initializers.materialize import materialize_, needs_batch
from start_training.lengths.capture import Capture
from start_training.lengths.layer_choice import LayerChoice, choose_from_pass, choose_layers
from start_training.streams import isolate_random_streams


def build_for(build: Callable[[], nn.Module], inputs: Tensor) -> nn.Module:
    """Build a net on the device of its inputs, with weights for lazy modules, for which it has to run."""
    net = build()
    if needs_batch(net):
        materialize_(net, inputs[:2].cpu())
    return net.to(inputs.device)


def layers_for(net: nn.Module, samples: Tensor) -> LayerChoice:
    """Return the layers to measure: those that the net declares, or else those that run for these samples."""
    return choose_layers(net) if hasattr(net, "measured_layers") else choose_from_pass(net, "auto", [samples])


@torch.no_grad()
def sample_reference(
    build: Callable[[], nn.Module],
    initializer: FillTensor,
    inputs: Tensor,
    *,
    generator: Generator,
    readout_initializer: FillTensor | None = None,
) -> Array:
    """Sample log M_0 … log M_d of independently built and initialized nets.

    Args:
        build: Function that returns a new net. Parameters that the initializer does not fill keep the values of the
            constructor.
        initializer: Initializer of the weights, as in `initialize_`.
        inputs: Inputs of each net, shape (nets, samples, …).
        generator: Source of all random numbers.
        readout_initializer: Initializer of the readout, as in `initialize_`; None: the same as of the other layers.

    Returns:
        Shape (nets, d + 1); log of the mean length over the samples of a net.
    """
    lengths = []
    for samples in inputs:
        with isolate_random_streams(generator):  # constructor and dropout draw from the global stream
            net = build_for(build, samples)
            initialize_(net, initializer, readout_initializer=readout_initializer, generator=generator)
            capture = Capture(net, layers_for(net, samples))
            capture.start()
            net(samples)
        lengths.append([float(reading.lengths.mean()) for reading in capture.stop()])
    with np.errstate(divide="ignore"):
        return np.log(np.array(lengths))
