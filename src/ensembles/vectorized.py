"""The general sampler, for any module whose forward pass `torch.func.vmap` can vectorize over nets."""

from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from start_training.ensembles.scaled import Array, to_numpy
from start_training.initializers.initialize import FillTensor, fill_biases_, fill_many_, layers_of, readout_of
from start_training.initializers.initializer import Fans
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
from start_training.lengths.layer_choice import choose_from_pass
from start_training.streams import isolate_random_streams

CHUNK_WEIGHTS = {"cpu": 2**22, "cuda": 2**28}  # parameters and buffers of all nets of a chunk: 16 MiB, 1 GiB
LARGEST_CHUNK = 128  # nets; the last chunk is sampled as a whole, and smaller chunks waste less there


def chunk_size(net: nn.Module, device: str = "cpu") -> int:
    """Return the number of nets to sample at once, between 1 and `LARGEST_CHUNK`."""
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
) -> Array:
    """Sample log M_0 … log M_d of independently initialized nets by one vectorized forward pass.

    Args:
        net: The module, run in its current mode (training or evaluation). Parameters that the initializer does not fill
            are the same in all nets.
        initializer: Initializer of the weights, as in `initialize_`.
        inputs: Inputs of each net, shape (nets, samples, …).
        generator: Source of all random numbers.
        readout_initializer: Initializer of the readout, as in `initialize_`; None: the same as of the other layers.

    Returns:
        Shape (nets, d + 1), for the layers that `Capture` measures; log of the mean length over the samples of a net.
    """
    nets = len(inputs)
    drawn = _draw(net, initializer, readout_initializer, nets, generator)
    rest = {
        name: tensor.expand(nets, *tensor.shape).clone()  # the forward pass may update buffers of each net
        for name, tensor in net.state_dict(keep_vars=True).items()
        if name not in drawn
    }
    choice = choose_from_pass(net, "auto", [inputs[0]])
    capture = Capture(net, choice, measure=partial(activation_lengths, data_dependent=False))

    def forward(state: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, ...]:
        capture.start()
        functional_call(net, state, (inputs,))
        return tuple(reading.lengths.mean(0, keepdim=True) for reading in capture.stop())

    try:
        with isolate_random_streams(generator):  # dropout draws from the global stream
            lengths = vmap(forward, randomness="different")(drawn | rest, inputs)
    finally:
        capture.remove()
    return to_numpy([layer.log() for layer in lengths])


def _draw(
    net: nn.Module,
    initializer: FillTensor,
    readout_initializer: FillTensor | None,
    nets: int,
    generator: Generator,
) -> dict[str, Tensor]:
    """Draw the weights and biases that `initialize_` fills, by parameter name, each stacked over nets."""
    readout, drawn = readout_of(net), {}
    for name, layer in layers_of(net).items():
        chosen = readout_initializer if layer is readout and readout_initializer else initializer
        drawn[f"{name}.weight"] = weights = _stacked(layer.weight, nets)
        fill_many_(weights, chosen, generator)
        if isinstance(layer.bias, Tensor):
            drawn[f"{name}.bias"] = biases = _stacked(layer.bias, nets)
            fill_biases_(biases, Fans.of(weights[0]), chosen, generator)
    return drawn


def _stacked(tensor: Any, nets: int) -> Tensor:
    return torch.empty((nets, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
