"""Check that a net can be trained as a replica in a group: that its forward pass can be vectorized over replicas."""

import copy
import pickle
import random
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from start_training.replicas.forward_pass import logits_of, losses_of
from start_training.replicas.scalars import varying_scalars
from start_training.replicas.stack import Stack
from start_training.settings import one_line
from start_training.streams import isolate_random_streams

ADVICE = "Train its runs one at a time with hydra/launcher=basic"


class NotVectorized(ValueError):
    """Raised for a net with an operation that `torch.func.vmap` cannot vectorize."""


def check_vectorized(net: nn.Module, input_shape: Sequence[int], *, other: nn.Module | None = None) -> None:
    """Check that a net can be trained as a replica in a group.

    Args:
        input_shape: The shape of a sample's inputs.
        other: Another net of the group, whose scalar attributes may differ; None: the same net.
    Raises:
        NotVectorized: `torch.func.vmap` cannot vectorize an operation of the forward pass; the message names it.
        ValueError: the nets cannot be stacked, a parameter has no gradient, the forward pass changes an attribute that
            is not a buffer, or the outputs of stacked nets differ from those of the nets themselves.
    """
    pair = [net, net if other is None else other]
    stack, before = Stack([copy.deepcopy(member) for member in pair]), copy.deepcopy(net)
    rows = stack.rows(slice(0, 2))
    parameter, generator = stack.parameters, torch.Generator().manual_seed(0)
    inputs = torch.randn(8, *input_shape, generator=generator).to(parameter)
    targets = torch.zeros(2, 8, dtype=torch.int64, device=parameter.device)
    name = f"model = {type(net).__name__}"
    expected = torch.stack([_logits_unstacked(member, inputs) for member in pair])
    if changed := varying_scalars([before, net]):
        place = next(iter(changed))
        raise ValueError(
            f"{name}: its forward pass changes {place.attribute}, which replicas would share; register it as a buffer. "
            f"{ADVICE}"
        )
    try:
        losses = losses_of(stack, rows, torch.stack([inputs] * 2), targets, shared=False).losses
        with torch.no_grad():
            logits = logits_of(stack, rows, inputs)
    except RuntimeError as error:
        raise NotVectorized(
            f"{name}: cannot be vectorized over replicas ({_shortened_message(error)}). {ADVICE}"
        ) from error
    largest = float(expected.nan_to_num(0, 0, 0).abs().max())
    if not torch.allclose(logits, expected, rtol=1e-3, atol=1e-3 * largest, equal_nan=True):
        raise ValueError(f"{name}: outputs of two nets stacked as replicas differ from those of each net. {ADVICE}")
    gradients = torch.autograd.grad(losses.sum(), list(rows.parameters.values()), allow_unused=True)
    for (parameter_name, _), gradient in zip(rows.parameters.items(), gradients, strict=True):
        if gradient is None:
            raise ValueError(f"{name}: parameter {parameter_name} has no gradient; set its requires_grad to False")


def _logits_unstacked(net: nn.Module, inputs: Tensor) -> Tensor:
    """Compute logits without stacking, and restore the buffers. The net is not copied, since hooks may refer to it."""
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with torch.no_grad():
        logits: Tensor = net(inputs)
        for name, buffer in buffers.items():
            net.get_buffer(name).copy_(buffer)
    return logits


def draws_random_numbers(net: nn.Module, input_shape: Sequence[int]) -> bool:
    """Return whether the net's forward pass in training mode draws random numbers, as dropout does."""
    net = copy.deepcopy(net).train()
    first = next(net.parameters())
    with isolate_random_streams(), torch.no_grad():
        before = _streams()
        net(torch.zeros(2, *input_shape, dtype=first.dtype, device=first.device))
        return _streams() != before


def _streams() -> bytes:
    return pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()))


def _shortened_message(error: RuntimeError) -> str:
    text = one_line(error)
    named = re.search(r"aten::\w+(\.\w+)?|\.item\(\)|\.\w+\(\)", text)
    sentence = text.split(". ")[0]
    return sentence if named is None or named[0] in sentence else f"{named[0]}: {sentence}"
