"""Initialization of a whole net, with one initializer for its layers and optionally another for its readout."""

import inspect
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.initializer import Fans, Initializer
from start_training.streams import isolate_random_streams

FillTensor: TypeAlias = Initializer | Callable[..., object]
DenseOrConvolution: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def initialize_(
    net: nn.Module,
    initializer: FillTensor,
    *,
    readout_initializer: FillTensor | None = None,
    generator: Generator,
) -> None:
    """Draw the weights and biases of every dense and convolutional layer of `net` in place.

    Layers are filled in the order of `named_modules`. Biases are set to zero unless the initializer draws biases. Other
    modules (normalization, embeddings) are not changed.

    Args:
        net: Any module.
        initializer: An `Initializer`, or a function that fills a tensor in place, such as those of `torch.nn.init`.
        readout_initializer: Initializer of the readout layer; None uses `initializer`. The readout is the last layer in
            `net.readout`, or the last layer of the net if it has no such module.
        generator: Generator from which all random numbers are drawn.

    Raises:
        ValueError: an initializer fills a weight with a value that is not finite.

    Example:
        >>> from start_training.initializers.variance_scaling import VarianceScaling
        >>> net = nn.Sequential(nn.Linear(1000, 500), nn.ReLU(), nn.Linear(500, 10))
        >>> initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(0))
        >>> round(1000 * net[0].weight.var().item(), 2)  # He initialization: fan_in · Var W = 2
        2.0
    """
    readout = readout_of(net)
    for name, layer in layers_of(net).items():
        chosen = readout_initializer if layer is readout and readout_initializer else initializer
        _fill_weight_(layer.weight, chosen, generator)
        if layer.bias is not None:
            fill_biases_(layer.bias, Fans.of(layer.weight), chosen, generator)
        if not layer.weight.isfinite().all():
            setting = "initializer" if chosen is initializer else "readout_initializer"
            raise ValueError(
                f"{setting} = {name_of(chosen)}: must draw finite weights, and drew non-finite ones for layer {name}"
            )


def layers_of(net: nn.Module) -> dict[str, DenseOrConvolution]:
    """Return the dense and convolutional layers of a net, by their names in `named_modules`."""
    return {name: module for name, module in net.named_modules() if isinstance(module, LAYERS)}


def readout_of(net: nn.Module) -> DenseOrConvolution | None:
    """Return the layer that computes the logits.

    It is the last dense or convolutional layer in `net.readout`, or in the net if it has no module `readout`. None if
    there is no such layer.
    """
    readout = getattr(net, "readout", None)
    return next(reversed(layers_of(readout if isinstance(readout, nn.Module) else net).values()), None)


def fill_many_(weights: Tensor, initializer: FillTensor, generator: Generator) -> None:
    """Draw the weights of the same layer of many nets in place.

    Args:
        weights: Shape (nets, units out, units in, *kernel).
        initializer: An `Initializer`, or a function that fills one net's tensor in place.
        generator: Generator from which all random numbers are drawn.
    """
    if isinstance(initializer, Initializer):
        initializer.fill_many_(weights, generator)
    else:
        for weight in weights:
            _fill_weight_(weight, initializer, generator)


def fill_biases_(biases: Tensor, fans: Fans, initializer: FillTensor, generator: Generator) -> None:
    """Fill biases in place, with zeros unless the initializer draws biases.

    Args:
        biases: Biases of one layer, or of the same layer of many nets, of any shape.
        fans: Fans of the layer's weights.
        initializer: An `Initializer`, or a function that fills weights.
        generator: Generator from which all random numbers are drawn.
    """
    if isinstance(initializer, Initializer):
        initializer.fill_bias_(biases, fans, generator)
    else:
        biases.zero_()


def accepts_generator(initializer: FillTensor) -> bool:
    """Return whether an initializer has a parameter `generator`, so that it does not use torch's global generator."""
    parameters = inspect.signature(initializer).parameters.values()
    return any(p.name == "generator" or p.kind is p.VAR_KEYWORD for p in parameters)


def _fill_weight_(weight: Tensor, initializer: FillTensor, generator: Generator) -> None:
    if accepts_generator(initializer):
        initializer(weight, generator=generator)
    else:  # it draws from the global generator, which is seeded from ours and restored
        with isolate_random_streams(generator):
            initializer(weight)


def name_of(initializer: FillTensor) -> str:
    """Return the name of an initializer for messages: the name of a function, or the repr of an `Initializer`."""
    return getattr(initializer, "__name__", repr(initializer))
