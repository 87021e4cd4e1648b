"""Measure how a small change of the inputs grows through a net."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from start_training.lengths.capture import Capture
from start_training.lengths.layer_choice import LayerChoice
from start_training.streams import isolate_random_streams

SIZE = 1e-3  # of the change, relative to the standard deviation of each input


def sensitivity(
    net: nn.Module, choice: LayerChoice, first: Callable[[], Any], second: Callable[[], Any], layer: int = -1
) -> float:
    """Growth of a small change of the inputs from the input to a layer, relative to the differences between samples.

    It is log(D_j / D_0) with D = Σ ‖a(x_i + ε) − a(x_i)‖² / Σ ‖a(x_i) − ā‖². In the chaotic phase of arXiv:1611.01232
    it grows with depth; near 0 neighbours of a sample stay its neighbours.

    Args:
        net: The net; noise such as dropout is the same in both passes.
        choice: Its layers.
        first: Passes the inputs through the net.
        second: Passes them with a small change.
        layer: Index among the readings.

    Returns:
        In nats; NaN if it cannot be computed.
    """
    capture = Capture(
        net, choice, measure=lambda activation: activation.detach().double(), pool=lambda steps: steps[-1]
    )
    readings = []
    for run in (first, second):
        with isolate_random_streams(Generator().manual_seed(0)), torch.enable_grad():
            capture.start()
            run()
            readings.append([reading.lengths.clone() for reading in capture.stop()])
    capture.remove()
    before, after = readings
    if len(before) != len(after) or len(before) < 2:
        return math.nan
    changes = [_relative_change(before[at], after[at]) for at in (0, layer)]
    return math.log(changes[1] / changes[0]) if all(0 < change < math.inf for change in changes) else math.nan


def slightly_changed(tensor: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise of `SIZE` standard deviations to real numbers; other and sparse tensors stay as they are."""
    if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.numel() < 2:
        return tensor
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
    finite = tensor[tensor.isfinite()]
    return tensor + SIZE * float(finite.double().std()) * noise if finite.numel() > 1 else tensor


def _relative_change(first: Tensor, second: Tensor) -> float:
    if first.shape != second.shape:
        return math.nan
    between = float((first - first.mean(0)).square().sum())
    return float((second - first).square().sum()) / between if between > 0 else math.nan
