"""Draw a whole net's weights: one initializer for its layers, perhaps another for its readout."""

import inspect
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.initializer import Fans, Initializer
from start_training.streams import isolate_random_streams

FillTensor: TypeAlias = Initializer | Callable[..., object]
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

    Biases are zero unless the initializer states a bias law; other modules (normalization,
    embeddings) keep what their constructor gave them. The readout is `net.readout` (its last layer,
    if it is several modules), or the last layer where the net has no such module.
    Raises ValueError if the initializer leaves a weight that is not finite.

    Example:
        >>> from start_training.initializers.variance_scaling import VarianceScaling
        >>> net = nn.Sequential(nn.Linear(1000, 500), nn.ReLU(), nn.Linear(500, 10))
        >>> initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(0))
        >>> round(1000 * net[0].weight.var().item(), 2)  # He's: kappa = 2
        2.0
    """
    readout = readout_of(net)
    for name, layer in layers_of(net).items():
        assert isinstance(layer.weight, Tensor)
        chosen = readout_initializer if layer is readout and readout_initializer else initializer
        _fill_(layer, chosen, generator)
        if not layer.weight.isfinite().all():
            setting = "initializer" if chosen is initializer else "readout_initializer"
            raise ValueError(
                f"{setting} = {name_of(chosen)}: left non-finite weights, where all must be finite, in layer {name}"
            )


def layers_of(net: nn.Module) -> dict[str, nn.Module]:
    """The dense and convolutional layers of a net by name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, LAYERS)}


def readout_of(net: nn.Module) -> nn.Module | None:
    """The layer that reads the classes out: the last one, of the module `net.readout` where there is one; or None."""
    readout = getattr(net, "readout", None)
    return next(reversed(layers_of(readout if isinstance(readout, nn.Module) else net).values()), None)


def fill_many_(weights: Tensor, initializer: FillTensor, generator: Generator) -> None:
    """Fill the same layer of many nets, (nets, units out, units in, *kernel), in place."""
    if isinstance(initializer, Initializer):
        initializer.fill_many_(weights, generator)
    else:
        for weight in weights:
            _fill_weight_(weight, initializer, generator)


def fill_biases_(biases: Tensor, fans: Fans, initializer: FillTensor, generator: Generator) -> None:
    """Fill the biases of one or many layers with these fans, in place: zero unless the initializer states a law."""
    if isinstance(initializer, Initializer):
        initializer.fill_bias_(biases, fans, generator)
    else:
        biases.zero_()


def is_thread_safe(initializer: FillTensor) -> bool:
    """Whether all its randomness comes from the generator it is given, and none from the process's."""
    return isinstance(initializer, Initializer) or _accepts_generator(initializer)


def _fill_(layer: nn.Module, initializer: FillTensor, generator: Generator) -> None:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    _fill_weight_(weight, initializer, generator)
    if isinstance(bias, Tensor):
        fill_biases_(bias, Fans.of(weight), initializer, generator)


def _fill_weight_(weight: Tensor, initializer: FillTensor, generator: Generator) -> None:
    if _accepts_generator(initializer):
        initializer(weight, generator=generator)
    else:  # it draws from the global stream: make that a function of the generator, and put it back
        with isolate_random_streams(generator):
            initializer(weight)


def _accepts_generator(initializer: FillTensor) -> bool:
    parameters = inspect.signature(initializer).parameters.values()
    return any(p.name == "generator" or p.kind is p.VAR_KEYWORD for p in parameters)


def name_of(initializer: FillTensor) -> str:
    """For messages: a function's name, or the law's own words."""
    return getattr(initializer, "__name__", repr(initializer))
