"""Read the norms of weights, gradients and updates in the steps of an optimizer, without a change to its training."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Add = Callable[[Sequence[Tensor], Tensor], None]  # called with the n parameters of a step, and norms (3, n)


class ObservedOptimizer:
    """Hooks before and after the steps of an optimizer, which read the norms of its parameters.

    Args:
        optimizer: The optimizer.
        device: Where the norms are computed together.
        due: Called before a step; returns a number for the training step, or None if it is not to be read.
        add: Receives what has been read of a step.
        early: Whether weights are read before the closure of a step is called, not after its first call. After the
            call, activations no longer need memory and lazy parameters have shapes; but some optimizers change the
            weights before they call a closure.

    Raises:
        AttributeError: The optimizer does not have the hooks of `torch.optim.Optimizer`.
    """

    def __init__(
        self, optimizer: Optimizer, device: torch.device, due: Callable[[], int | None], add: Add, *, early: bool
    ) -> None:
        self._optimizer, self._device, self._due, self._add, self._early = optimizer, device, due, add, early
        self._step: int | None = None  # the training step in which the optimizer steps now
        self._depth = 0
        self._parameters: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._gradients: Tensor | None = None
        self._has_gradients = False
        self._buffers: list[Tensor] = []  # of weights, from the step before
        self._handles = [optimizer.register_step_pre_hook(self._begin), optimizer.register_step_post_hook(self._end)]

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _begin(self, optimizer: Optimizer, arguments: Any, by_name: Any) -> Any:
        step = self._due()
        if step is not None and step == self._step:  # a `step` that calls the `step` of its base class
            self._depth += 1
            return None
        self._step, self._depth, self._weights, self._gradients = step, 1, [], None
        self._has_gradients = False
        if step is None:
            return None
        groups = self._optimizer.param_groups
        self._parameters = [value for group in groups for value in group["params"] if value.requires_grad]
        closure = by_name.get("closure", arguments[1] if len(arguments) > 1 else None)
        if self._early or not callable(closure):
            self._read_weights()
        if not callable(closure):
            self._read_gradients()
            return None
        reading = self._reading(closure)
        if "closure" in by_name:
            return arguments, {**by_name, "closure": reading}
        return (arguments[0], reading, *arguments[2:]), by_name

    def _reading(self, closure: Callable[..., Any]) -> Callable[..., Any]:
        """Return a closure that also reads weights and gradients, after its first call."""

        def read(*arguments: Any, **by_name: Any) -> Any:
            result = closure(*arguments, **by_name)
            self._read_weights()
            self._read_gradients()
            return result

        return read

    def _end(self, optimizer: Optimizer, arguments: Any, by_name: Any) -> None:
        if self._step is None:
            return
        self._depth -= 1
        if self._depth:
            return
        self._step = None
        self._read_gradients()  # unless done: an optimizer that does not call its closure
        if self._weights and self._has_gradients:
            self._add(self._parameters, self._norms())
        # On a CPU, memory is kept: getting it anew takes longer than the copy.
        self._buffers, self._weights = self._weights if self._device.type == "cpu" else [], []

    @torch.no_grad()
    def _read_weights(self) -> None:
        if not self._weights and self._parameters:
            alike = list(map(_kind, self._buffers)) == list(map(_kind, self._parameters))
            self._weights = self._buffers if alike else [torch.empty_like(value) for value in self._parameters]
            torch._foreach_copy_(self._weights, self._parameters)

    @torch.no_grad()
    def _read_gradients(self) -> None:
        if self._gradients is None and self._parameters:
            gradients = [value.grad for value in self._parameters]
            existing = [gradient for gradient in gradients if gradient is not None]
            self._has_gradients = bool(existing)
            norms = iter(_norms(existing, self._device))
            none = torch.full((), math.nan, dtype=torch.float64, device=self._device)
            self._gradients = torch.stack([none if gradient is None else next(norms) for gradient in gradients])
            # A fused optimizer divides by the scale of 16-bit precision within its step.
            if (scale := getattr(self._optimizer, "grad_scale", None)) is not None:
                self._gradients = self._gradients / scale.to(self._gradients)

    @torch.no_grad()
    def _norms(self) -> Tensor:
        """Return the norms of weights before the step, gradients and updates, shape (3, n)."""
        assert self._gradients is not None
        weights = torch.stack(_norms(self._weights, self._device))
        torch._foreach_sub_(self._weights, self._parameters)
        return torch.stack([weights, self._gradients, torch.stack(_norms(self._weights, self._device))])


def _norms(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return the Euclidean norm of each tensor, whose squares may be outside the range of its type."""
    values = [tensor.coalesce().values() if tensor.is_sparse else tensor for tensor in tensors]
    values = [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in values]
    norms = torch._foreach_norm(values, 2, torch.float64) if values else ()
    return [norm.to(device) for norm in norms]


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device
