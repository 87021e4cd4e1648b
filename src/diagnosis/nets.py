"""A copy of a module, and the few nets that are drawn in it one after the other."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from start_training.diagnosis.change import Change
from start_training.diagnosis.measurement import Measurement
from start_training.diagnosis.probe import Probe, Readings, map_tensors
from start_training.diagnosis.redraw import Redraw, second_moment_variances
from start_training.initializers.initialize import FillTensor, initialize_
from start_training.settings import described, one_line

LARGE = 2**25  # weights up to which float64 costs seconds; ResNet-50 has 2^24.6


class Nets:
    """Nets drawn in a copy of `net`, on the CPU and in training mode, as at step 0 of training.

    In float64, where no depth that anyone builds over- or underflows; in the module's own precision where it has
    more than `LARGE` weights, or does not run in float64. With `initializer`, each net is drawn by `initialize_`;
    without, the first is the module as it is, and the others are redrawn from its weights (`Redraw`). The module
    itself, Python's, NumPy's and torch's global streams are left as they were. Python hooks on the module run on the
    copies too.
    Raises ValueError for a batch that it cannot work with, a net that cannot be copied, or one that fails on the batch.
    """

    def __init__(
        self,
        net: nn.Module,
        batch: Any,
        *,
        initializer: FillTensor | None = None,
        readout_initializer: FillTensor | None = None,
        nets: int = 10,
        seed: int = 0,
        modules: Sequence[str] | None = None,
    ) -> None:
        self._arguments, self._named = forward_arguments(batch)
        self._initializer, self._readout_initializer = initializer, readout_initializer
        self._nets, self._seed, self._modules = nets, seed, modules
        self._changes: list[Change] = []
        self._batch = batch_shape(batch)
        self._original = net
        self._double = sum(parameter.numel() for parameter in net.parameters()) <= LARGE
        self._begin()

    def _begin(self) -> None:
        self.net = copied(self._original)
        if self._double:
            self.net.double()
        self._redraw = None if self._initializer else Redraw(self.net)

    def change(self, change: Change) -> None:
        """Apply a change to every net drawn from here on."""
        if self._initializer:
            self._changes.append(change)
        else:
            change.apply_(self.net)

    def measure(self) -> Measurement:
        """All nets, each on the batch forward and a random cotangent backward."""
        normalized = any(isinstance(module, _BatchNorm) for module in self.net.modules())
        readings = self.read()
        shared = second_moment_variances(self.net) if self._redraw else None
        return Measurement.of(readings, normalized=normalized, shared=shared)

    def read(self) -> list[Readings]:
        """The readings of all nets."""
        with global_streams_kept():
            try:
                return self._read()
            except _Fails as failure:
                if not self._double:
                    raise ValueError(str(failure)) from failure
            self._double = False  # perhaps a module that makes float32 tensors of its own
            self._begin()
            try:
                return self._read()
            except _Fails as failure:
                raise ValueError(str(failure)) from failure

    def _read(self) -> list[Readings]:
        generator, readings = torch.Generator().manual_seed(self._seed), []
        arguments, named = map_tensors(self._converted, (list(self._arguments), dict(self._named)))
        with Probe(self.net, self._modules) as probe:
            for index in range(self._nets):
                self._draw(index, generator)
                seed = int(torch.randint(2**62, (), generator=generator))  # of dropout, and of the cotangent
                torch.default_generator.manual_seed(seed)
                with _module_fails_on(self._batch), torch.enable_grad():
                    readings.append(probe.read(arguments, named, torch.Generator().manual_seed(seed)))
        if any(of_net.names != readings[0].names for of_net in readings):
            raise ValueError(f"net = {type(self.net).__name__}: runs other modules at each pass; name some in modules")
        return readings

    def _draw(self, index: int, generator: Generator) -> None:
        if self._initializer:
            initialize_(self.net, self._initializer, readout_initializer=self._readout_initializer, generator=generator)
            for change in self._changes:
                change.apply_(self.net)
        elif index and self._redraw:
            self._redraw(self.net, generator)

    def _converted(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        return tensor.double() if self._double and tensor.is_floating_point() else tensor


class _Fails(Exception):
    """The module fails on the batch."""


@contextmanager
def _module_fails_on(batch: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a foreign module raises
        if isinstance(error, ValueError) and str(error).startswith("net = "):
            raise
        raise _Fails(f"batch = {batch}: the module fails on it ({described(error)})") from error


def copied(net: nn.Module) -> nn.Module:
    """A copy on the CPU in training mode; of its parameters, only embeddings ask for gradients."""
    try:
        net = copy.deepcopy(getattr(net, "_orig_mod", net)).cpu().train()  # a compiled module wraps the plain one
    except Exception as error:
        raise ValueError(f"net = {type(net).__name__}: cannot be copied ({one_line(error)})") from error
    for parameter in net.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)  # gradients flow through activations; those of weights are not asked for
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            module.weight.requires_grad_(True)
    return net


def forward_arguments(batch: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments of `forward`. Raises ValueError for a batch without samples or not finite."""
    arguments = [batch] if isinstance(batch, Tensor) else list(batch) if isinstance(batch, list | tuple) else []
    named = dict(batch) if isinstance(batch, Mapping) else {}
    tensors: list[Tensor] = []
    map_tensors(tensors.append, (arguments, named))
    if not tensors:
        raise ValueError(
            f"batch = {type(batch).__name__}: must be a tensor, or a tuple or dict of forward's arguments with one"
        )
    if any(tensor.dim() == 0 or tensor.numel() == 0 for tensor in tensors[:1]):
        raise ValueError(f"batch = {batch_shape(batch)}: holds no sample")
    if any(not _is_finite(tensor, mask=len(tensors) > 1) for tensor in tensors):
        raise ValueError(f"batch = {batch_shape(batch)}: holds values that are not finite")
    return arguments, named


def _is_finite(tensor: Tensor, *, mask: bool) -> bool:
    """Without NaN or infinity; −inf may stand in a mask, of which there may be one beside other arguments."""
    finite = tensor.isfinite() | tensor.isneginf() if mask and tensor.is_floating_point() else tensor.isfinite()
    return bool(finite.all())


def batch_shape(batch: Any) -> str:
    """For messages: `shape (8, 3, 64, 64)` of each tensor."""
    shapes: list[str] = []
    map_tensors(lambda tensor: shapes.append(str(tuple(tensor.shape))), batch)
    return f"shape {', '.join(shapes)}"


@contextmanager
def global_streams_kept() -> Iterator[None]:
    """Whatever is drawn within, the global random streams of a CPU process go on as if nothing had been."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
