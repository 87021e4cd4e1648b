"""The general sampler, for any module whose forward pass `torch.func.vmap` can vectorize over nets."""

from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from start_training.ensembles.reference import layers_for
from start_training.ensembles.scaled import Array, to_numpy
from start_training.initializers.choice import choose
from start_training.initializers.drawing import FillTensor, fill_biases_, fill_many_
from start_training.initializers.initialize import report_unknown
from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.capture import Capture
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
    capture = Capture(net, layers_for(net, inputs[0]), measure=partial(activation_lengths, data_dependent=False))

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
    choice, drawn = choose(net), dict[str, Tensor]()
    report_unknown(net, choice)

    def stacked(name: str) -> Tensor:
        if name not in drawn:  # parts of a weight share a tensor
            parameter = net.get_parameter(name).detach()
            drawn[name] = parameter.expand(nets, *parameter.shape).clone()
        return drawn[name]

    for weight in choice.drawn:
        if not weight.plain:  # `Ensemble.choose_sampler` takes this, as any failure of vmap, for the reference sampler
            raise NotImplementedError(f"{weight.name} is computed by {weight.computed_by} in each net")
        fill = readout_initializer if weight.module is choice.readout and readout_initializer else initializer
        matrices = weight.layout.matrices(stacked(weight.full_name), 1)
        of_all = matrices.flatten(0, 1)
        fill_many_(of_all, fill, generator, fans=weight.fans)
        if not matrices.is_contiguous():
            matrices.copy_(of_all.view_as(matrices))
        if (bias := weight.bias_parameter) is not None and bias.requires_grad:
            biases = weight.biases(stacked(weight.full_bias_name), 1)
            fill_biases_(biases, weight.fans, fill if weight.adds_bias else torch.zero_, generator)
    return drawn
