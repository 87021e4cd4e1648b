"""Draw weights and biases in place, by an initializer or by any function that fills a tensor."""

import inspect
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Generator, Tensor

from start_training.initializers.initializer import Fans, Initializer
from start_training.initializers.weight_matrix import Layout, Weight
from start_training.streams import isolate_random_streams

FillTensor: TypeAlias = Initializer | Callable[..., object]


def draw_into_(parameter: Tensor, weight: Weight, fill: FillTensor, generator: Generator) -> None:
    """Draw a weight, or the part of it that `weight` is, into a tensor of the shape of its whole parameter.

    An `Initializer` has the fans of the weight; a function gets each matrix, of shape (units out, units in, *kernel),
    so that the stride of a transposed convolution is unknown to it.
    """
    if weight.layout in (Layout(), Layout(flat=True)) and weight.stride == 1 and not _is_low(parameter):
        _fill_(parameter if weight.layout == Layout() else parameter.view(len(parameter), -1), fill, generator)
    else:
        fill_many_(weight.layout.matrices(parameter), fill, generator, fans=weight.fans)


def fill_many_(weights: Tensor, fill: FillTensor, generator: Generator, *, fans: Fans | None = None) -> None:
    """Draw several matrices, such as the same layer of many nets, in place.

    Half precision is drawn in float32 and rounded, since torch has no orthogonal matrices of it.

    Args:
        weights: Shape (matrices, units out, units in, *kernel).
        fill: An `Initializer`, or a function that fills one matrix in place.
        generator: Generator from which all random numbers are drawn.
        fans: Fans of a matrix; None: as its shape tells.
    """
    drawn = weights if weights.is_contiguous() and not _is_low(weights) else _buffer(weights)
    if not isinstance(fill, Initializer):
        for matrix in drawn:
            _fill_(matrix, fill, generator)
    elif fans is None or fans == Fans.of(drawn[0]):
        fill.fill_many_(drawn, generator)
    else:
        fill.fill_with_fans_(drawn, fans, generator)
    if drawn is not weights:
        weights.copy_(drawn)


def fill_biases_(biases: Tensor, fans: Fans, fill: FillTensor, generator: Generator) -> None:
    """Fill biases in place, with zeros unless the initializer draws biases.

    Args:
        biases: Biases of one layer, or of the same layer of many nets, of any shape.
        fans: Fans of the layer's weights.
        fill: An `Initializer`, or a function that fills weights.
        generator: Generator from which all random numbers are drawn.
    """
    if isinstance(fill, Initializer):
        fill.fill_bias_(biases, fans, generator)
    else:
        biases.zero_()


def accepts_generator(fill: FillTensor) -> bool:
    """Return whether an initializer has a parameter `generator`, so that it does not use torch's global generator."""
    parameters = inspect.signature(fill).parameters.values()
    return any(p.name == "generator" or p.kind is p.VAR_KEYWORD for p in parameters)


def name_of(fill: FillTensor) -> str:
    """Return the name of an initializer for messages: the name of a function, or the repr of an `Initializer`."""
    return getattr(fill, "__name__", repr(fill))


def _fill_(matrix: Tensor, fill: FillTensor, generator: Generator) -> None:
    if accepts_generator(fill):
        fill(matrix, generator=generator)
    else:  # it draws from the global generator, which is seeded from ours and restored
        with isolate_random_streams(generator):
            fill(matrix)


def _is_low(tensor: Tensor) -> bool:
    return torch.finfo(tensor.dtype).bits <= 16


def _buffer(weights: Tensor) -> Tensor:
    """Return a contiguous copy for drawing; a function may keep part of the values."""
    dtype = torch.float32 if _is_low(weights) else weights.dtype
    return weights.detach().to(dtype, memory_format=torch.contiguous_format, copy=True)
