"""Draw a whole net's weights: one initializer for its layers, perhaps another for its readout."""

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
    """Fill every dense and convolutional layer of `net` in place, in the order of `named_modules`.

    Biases are zero unless the initializer states a bias law; other modules (normalization, embeddings) are not changed.

    Args:
        net: Any module.
        initializer: A weight law, or a function that fills a tensor in place, such as those of `torch.nn.init`.
        readout_initializer: Another one for the readout: `net.readout` (its last layer, if it is several modules), or
            the last layer where the net has no such module.
        generator: The source of all randomness.

    Raises:
        ValueError: an initializer fills a weight with a value that is not finite.

    Example:
        >>> from start_training.initializers.variance_scaling import VarianceScaling
        >>> net = nn.Sequential(nn.Linear(1000, 500), nn.ReLU(), nn.Linear(500, 10))
        >>> initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(0))
        >>> round(1000 * net[0].weight.var().item(), 2)  # He's: kappa = 2
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
                f"{setting} = {name_of(chosen)}: left non-finite weights, where all must be finite, in layer {name}"
            )


def layers_of(net: nn.Module) -> dict[str, DenseOrConvolution]:
    """The dense and convolutional layers of a net, by their names in `named_modules`."""
    return {name: module for name, module in net.named_modules() if isinstance(module, LAYERS)}


def readout_of(net: nn.Module) -> DenseOrConvolution | None:
    """The layer that computes the logits: the last one of `net.readout`, or of a net without such a module.

    None where there is no dense or convolutional layer.
    """
    readout = getattr(net, "readout", None)
    return next(reversed(layers_of(readout if isinstance(readout, nn.Module) else net).values()), None)


def fill_many_(weights: Tensor, initializer: FillTensor, generator: Generator) -> None:
    """Fill the same layer of many nets in place.

    Args:
        weights: Shape (nets, units out, units in, *kernel).
        initializer: A weight law, or a function that fills one net's tensor in place.
        generator: The source of all randomness.
    """
    if isinstance(initializer, Initializer):
        initializer.fill_many_(weights, generator)
    else:
        for weight in weights:
            _fill_weight_(weight, initializer, generator)


def fill_biases_(biases: Tensor, fans: Fans, initializer: FillTensor, generator: Generator) -> None:
    """Fill biases in place: with zeros, unless the initializer states a bias law.

    Args:
        biases: Of one layer or of the same layer of many nets, any shape.
        fans: Of that layer's weights.
        initializer: A weight law, or a function that fills weights.
        generator: The source of all randomness.
    """
    if isinstance(initializer, Initializer):
        initializer.fill_bias_(biases, fans, generator)
    else:
        biases.zero_()


def accepts_generator(initializer: FillTensor) -> bool:
    """Whether all its randomness comes from the generator it is given, and none from torch's global generator."""
    parameters = inspect.signature(initializer).parameters.values()
    return any(p.name == "generator" or p.kind is p.VAR_KEYWORD for p in parameters)


def _fill_weight_(weight: Tensor, initializer: FillTensor, generator: Generator) -> None:
    if accepts_generator(initializer):
        initializer(weight, generator=generator)
    else:  # it draws from the global generator, which is seeded from ours and restored
        with isolate_random_streams(generator):
            initializer(weight)


def name_of(initializer: FillTensor) -> str:
    """What messages call an initializer: a function's name, or the repr of a law."""
    return getattr(initializer, "__name__", repr(initializer))
