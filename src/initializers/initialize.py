"""Initialization of a whole net, with one initializer for its layers and optionally another for its readout."""

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Generator, Tensor, nn

from start_training.initializers.choice import Choice, Patterns, choose
from start_training.initializers.drawing import FillTensor, draw_into_, fill_biases_, name_of
from start_training.initializers.drawn_law import drawn_weight
from start_training.initializers.initialization import LIMIT, SHOWN, DrawnWeight, Initialization, LeftParameter
from start_training.initializers.materialize import materialize_
from start_training.initializers.weight_access import NoInverse
from start_training.initializers.weight_matrix import Weight


@torch.no_grad()
def initialize_(
    net: nn.Module,
    initializer: FillTensor,
    *,
    readout_initializer: FillTensor | None = None,
    generator: Generator,
    only: Patterns = None,
    skip: Patterns = None,
    strict: bool = False,
    batch: Any = None,
) -> Initialization:
    """Draw the weights and biases of every layer of `net` in place, and return what was drawn and what was left.

    Layers are all that `weights_of` lists, in the order of `named_modules`: dense and bilinear ones, convolutions,
    attention, recurrent ones, stacks of experts. Fans count one matrix: one group of a convolution, one projection of
    attention, one gate, one expert. Biases are set to zero unless the initializer draws biases. Other modules
    (normalization, embeddings, unknown ones) are not changed.

    A weight that is computed from others (parametrizations, pruning) is written through what computes it. Where that
    fixes the scale or sets entries to zero, the tensor from which the weight is computed is drawn, and the result
    names the layer as not having the law that was asked for, with the kappa that it has.

    These weights stay as they are, with their biases, and the result says so: those that `only` does not and `skip`
    does name; frozen ones (`requires_grad` False); low-rank adapters (with "lora_" in their name, or beside a frozen
    layer); and all-zero ones, which are taken for the ends of branches (LoRA, ControlNet, Fixup), except for the
    readout, and unless all weights of the net are zero. A weight that several layers share is drawn once, for the first
    layer that multiplies by it; an embedding that shares it gets the same values.

    Args:
        net: Any module.
        initializer: An `Initializer`, or a function that fills a tensor in place, such as those of `torch.nn.init`.
        readout_initializer: Initializer of the readout layer; None uses `initializer`. The readout is the last layer in
            `net.readout`, or the last layer of the net if it has no such module.
        generator: Generator from which all random numbers are drawn.
        only: Patterns, as in `fnmatch`, for the names of layers or of their weights; no others are drawn.
        skip: Patterns for the names of layers or of their weights that are not drawn, such as loaded ones.
        strict: Whether it is an error, instead of a warning, to leave more than 1% of the weights that multiply because
            their module is unknown. Then nothing is drawn.
        batch: Arguments of `net.forward`, for nets with lazy modules or on the meta device; see `materialize_`.

    Returns:
        The weights that were drawn, with their kappa, and the parameters that were left, with the reason.

    Raises:
        ValueError: an initializer fills a weight with a value that is not finite, a layer has no weights yet, a pattern
            matches no weight, or with `strict` a part of the net is unknown.

    Example:
        >>> from start_training.initializers.variance_scaling import VarianceScaling
        >>> net = nn.Sequential(nn.Linear(1000, 500), nn.LayerNorm(500), nn.ReLU(), nn.Linear(500, 10, bias=False))
        >>> drawn = initialize_(net, VarianceScaling(2.0), generator=torch.Generator().manual_seed(0))
        >>> round(1000 * net[0].weight.var().item(), 2)  # He initialization: fan_in · Var W = 2
        2.0
        >>> print(drawn)
        drew 2 weights, left 2
          drew 0: kappa 2, VarianceScaling(scale=2, fan_in, normal) (kappa 2)
          drew 3: kappa 1.98, VarianceScaling(scale=2, fan_in, normal) (kappa 2)
          left 1.weight: normalization (LayerNorm)
          left 1.bias: normalization (LayerNorm)
    """
    materialize_(net, batch)
    choice = choose(net, only, skip)
    report_unknown(net, choice, strict=strict)
    drawn, left = list[DrawnWeight](), list(choice.left)
    for _, parts in groupby(choice.drawn, key=lambda weight: (id(weight.module), weight.parameter)):
        weights = list(parts)
        is_readout = weights[0].module is choice.readout and readout_initializer is not None
        fill = readout_initializer if is_readout and readout_initializer else initializer
        try:
            values = _draw_(weights, fill, generator)
        except NoInverse as error:
            left += [LeftParameter(one.name, str(error), one.matrices().numel(), multiplies=True) for one in weights]
            continue
        computed = weights[0].computed()
        if not computed.isfinite().all():
            setting = "readout_initializer" if is_readout else "initializer"
            raise ValueError(
                f"{setting} = {name_of(fill)}: must draw finite weights, and drew non-finite ones for layer "
                f"{weights[0].name}"
            )
        drawn += [drawn_weight(one, computed, values, fill) for one in weights]
    for weight in choice.shared:
        is_readout = weight.module is choice.readout
        _draw_biases_(weight, readout_initializer if is_readout and readout_initializer else initializer, generator)
    readout = tuple(weight.name for weight in choice.drawn if weight.module is choice.readout)
    return Initialization(tuple(drawn), tuple(left), readout)


def _draw_(weights: Sequence[Weight], fill: FillTensor, generator: Generator) -> Tensor:
    """Draw a weight whose parts are given, and its biases; return the values that the layer should compute with."""
    first = weights[0]
    values = first.stored[0] if first.plain else first.computed().detach().clone()
    for weight in weights:
        draw_into_(values, weight, fill, generator)
        _draw_biases_(weight, fill, generator)
    if not first.plain:
        first.write_(values)
    return values


def _draw_biases_(weight: Weight, fill: FillTensor, generator: Generator) -> None:
    if (bias := weight.bias_parameter) is not None and bias.requires_grad:
        fill_biases_(weight.biases(bias), weight.fans, fill if weight.adds_bias else torch.zero_, generator)


def report_unknown(net: nn.Module, choice: Choice, *, strict: bool = False) -> None:
    """Warn of weights that are left since their kind is unknown, and of a net in which nothing is drawn.

    Raises:
        ValueError: `strict`, and more than `LIMIT` of the weights that multiply are of unknown kinds.
    """
    unknown = [left for left in choice.left if left.multiplies and not left.exempt]
    drawn = sum(weight.matrices().numel() for weight in choice.drawn)
    total = drawn + sum(left.entries for left in choice.left if left.multiplies)
    share = sum(left.entries for left in unknown) / max(total, 1)
    names = "; ".join(str(left) for left in unknown[:SHOWN]) + f" and {len(unknown) - SHOWN} more" * (
        len(unknown) > SHOWN
    )
    if share > LIMIT:
        message = f"net = {type(net).__name__}: {share:.0%} of the weights that multiply are of unknown kinds ({names})"
        if strict:
            raise ValueError(f"{message}; with strict=True all must be known, or named in skip=…")
        warnings.warn(f"{message} and keep their values; name them in skip=… if they should", stacklevel=4)
    elif not drawn and total:
        reasons = "; ".join(str(left) for left in choice.left if left.multiplies)
        warnings.warn(f"net = {type(net).__name__}: no weight is drawn ({reasons})", stacklevel=4)
