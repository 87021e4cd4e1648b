"""The general sampler: any module, its forward pass vectorized over nets."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from start_training.ensembles.scaled import to_numpy
from start_training.initializers.initialize import FillTensor, fill_biases_, fill_many_, layers_of, readout_of
from start_training.initializers.initializer import Fans
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.streams import global_stream_from

CHUNK_WEIGHTS = {"cpu": 2**22, "cuda": 2**28}  # all parameters of a chunk: 16 MiB, 1 GiB
LARGEST_CHUNK = 128  # nets: chunks are sampled whole, so a smaller one wastes less at the end


def chunk_size(net: nn.Module, device: str = "cpu") -> int:
    """How many nets to sample at once, between 1 and LARGEST_CHUNK."""
    parameters = sum(tensor.numel() for tensor in net.state_dict().values())
    return min(max(CHUNK_WEIGHTS[torch.device(device).type] // max(parameters, 1), 1), LARGEST_CHUNK)


@torch.no_grad()
def sample_vectorized(
    net: nn.Module,
    initializer: FillTensor,
    inputs: Tensor,
    *,
    generator: Generator,
    readout_initializer: FillTensor | None = None,
) -> NDArray[np.float64]:
    """log M_0 … log M_d of as many nets as `inputs`, of shape (nets, samples, …), has; (nets, d + 1).

    What the initializer fills is stacked over nets, everything else is the net's own, and the net's forward pass,
    in whatever mode it is, runs once for all. Its lengths are those of `Capture`. Raises what torch raises for a
    forward pass that cannot be vectorized.
    """
    nets = len(inputs)
    drawn = _draw(net, initializer, readout_initializer, nets, generator)
    rest = {
        name: tensor.expand(nets, *tensor.shape).clone()  # a buffer that the forward pass updates is each net's own
        for name, tensor in net.state_dict(keep_vars=True).items()
        if name not in drawn
    }
    capture = Capture(net, measure=partial(activation_lengths, data_dependent=False))
    try:
        with global_stream_from(generator):  # dropout draws from it
            lengths = vmap(_forward(net, capture), randomness="different")(drawn | rest, inputs)
    finally:
        capture.remove()
    return to_numpy([layer.log() for layer in lengths])


def _forward(net: nn.Module, capture: Capture) -> Callable[[dict[str, Tensor], Tensor], tuple[Tensor, ...]]:
    def forward(state: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, ...]:
        capture.start()
        functional_call(net, state, (inputs,))
        return tuple(reading.lengths.mean(0, keepdim=True) for reading in capture.stop())

    return forward


def _draw(
    net: nn.Module,
    initializer: FillTensor,
    readout_initializer: FillTensor | None,
    nets: int,
    generator: Generator,
) -> dict[str, Tensor]:
    readout, drawn = readout_of(net), {}
    for name, layer in layers_of(net).items():
        chosen = readout_initializer if layer is readout and readout_initializer else initializer
        weights = _stacked(layer.weight, nets)
        fill_many_(weights, chosen, generator)
        drawn[f"{name}.weight"] = weights
        if isinstance(layer.bias, Tensor):
            biases = _stacked(layer.bias, nets)
            fill_biases_(biases, Fans.of(weights[0]), chosen, generator)
            drawn[f"{name}.bias"] = biases
    return drawn


def _stacked(tensor: Any, nets: int) -> Tensor:
    return torch.empty((nets, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
