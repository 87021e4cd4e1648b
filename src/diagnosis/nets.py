"""Draw several initializations of a module in one copy of it, and measure them one after the other."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from start_training.diagnosis.change import Change
from start_training.diagnosis.measurement import LayerMeasurement
from start_training.diagnosis.probe import Probe, Readings, map_tensors, tensors_in
from start_training.diagnosis.redraw import Redraw, second_moment_variances
from start_training.initializers.drawing import FillTensor
from start_training.initializers.initialize import initialize_
from start_training.initializers.materialize import materialize_
from start_training.lengths.layer_choice import Layers, NoLayers, choose_from_pass
from start_training.settings import described, one_line
from start_training.streams import isolate_random_streams

LARGE = 2**25  # number of weights up to which float64 takes only seconds; ResNet-50 has 2^24.6


class Nets:
    """Several initializations of a module, drawn one after the other in a copy on the CPU in training mode.

    The copy is in float64, so that nets of any practical depth neither overflow nor underflow. It has the precision of
    the module instead if the module has more than `LARGE` weights or fails in float64. Neither the module nor the
    global random streams of Python, NumPy and torch are changed. Python hooks of the module are executed on the copy
    too.

    Args:
        net: The module.
        batch: A tensor, or a list, tuple or mapping of the arguments of `net.forward`.
        initializer: Initializer of each net, as in `initialize_`; None: the first net has the weights of the module,
            and the others are redrawn from them (see `Redraw`).
        readout_initializer: Initializer of the readout, as in `initialize_`.
        nets: Number of nets.
        seed: Seed of all random numbers.
        layers: The layers to measure, as in `choose_layers`.

    Raises:
        ValueError: the batch has no tensor or one that is not finite, or the module cannot be copied.
    """

    def __init__(
        self,
        net: nn.Module,
        batch: Any,
        initializer: FillTensor | None,
        readout_initializer: FillTensor | None,
        *,
        nets: int,
        seed: int,
        layers: Layers,
    ) -> None:
        self._arguments, self._named = forward_arguments(batch)
        self._initializer, self._readout_initializer = initializer, readout_initializer
        self._nets, self._seed, self._layers = nets, seed, layers
        self._changes: list[Change] = []
        self._batch = batch_shape(batch)
        self._original = net
        self._begin(double=sum(0 if is_lazy(weight) else weight.numel() for weight in net.parameters()) <= LARGE)

    def _begin(self, *, double: bool) -> None:
        self._double = double
        self.net = copied(self._original, map_tensors(Tensor.cpu, self._arguments or self._named))
        self._frozen = [parameter for parameter in self.net.parameters() if not parameter.requires_grad]
        _require_gradients_of_embeddings_(self.net)
        if double:
            self.net.double()
        self._redraw = None if self._initializer else Redraw(self.net)

    def change(self, change: Change) -> None:
        """Apply a change to all nets that `measure` draws from now on."""
        if self._initializer:
            self._changes.append(change)
        else:
            change.apply_(self.net)

    def measure(self) -> LayerMeasurement:
        """Draw and measure all nets: each passes the batch forward and a random cotangent backward."""
        with isolate_random_streams():
            try:
                readings = self._read()
            except _ModuleFails:
                if not self._double:
                    raise
                self._begin(double=False)  # the forward pass may create float32 tensors
                readings = self._read()
        normalized = any(isinstance(module, _BatchNorm) for module in self.net.modules())
        shared = second_moment_variances(self.net) if self._redraw else {}
        return LayerMeasurement.of(readings, normalized=normalized, shared=shared)

    def _read(self) -> list[Readings]:
        generator, readings = torch.Generator().manual_seed(self._seed), []
        arguments, named = map_tensors(self._converted, (list(self._arguments), dict(self._named)))
        with _module_fails_on(self._batch):
            choice = choose_from_pass(self.net, self._layers, arguments, named)
        with Probe(self.net, choice) as probe:
            for index in range(self._nets):
                self._draw(index, generator)
                seed = int(torch.randint(2**62, (), generator=generator))  # seed of dropout and of the cotangent
                torch.default_generator.manual_seed(seed)
                with _module_fails_on(self._batch), torch.enable_grad():
                    readings.append(probe.read(arguments, named, torch.Generator().manual_seed(seed)))
        if any(of_net.names != readings[0].names for of_net in readings):
            raise ValueError(
                f"net = {type(self.net).__name__}: its forward passes execute different modules; name layers that "
                "every pass executes by layers=…"
            )
        return readings

    def _draw(self, index: int, generator: Generator) -> None:
        if self._initializer:
            self.net.requires_grad_(True)
            for parameter in self._frozen:
                parameter.requires_grad_(False)
            initialize_(self.net, self._initializer, readout_initializer=self._readout_initializer, generator=generator)
            _require_gradients_of_embeddings_(self.net)
            for change in self._changes:
                change.apply_(self.net)
        elif index and self._redraw:
            self._redraw(self.net, generator)

    def _converted(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        return tensor.double() if self._double and tensor.is_floating_point() else tensor


class _ModuleFails(ValueError):
    """The error that the forward or backward pass of a module fails on the batch."""


@contextmanager
def _module_fails_on(batch: str) -> Iterator[None]:
    """Raise any error of the user's module as `_ModuleFails`, naming the shape of the batch."""
    try:
        yield
    except Exception as error:  # the module of the user may raise any exception
        if isinstance(error, NoLayers) or (isinstance(error, ValueError) and str(error).startswith("net = ")):
            raise
        raise _ModuleFails(f"batch = {batch}: the net fails on this batch ({described(error)})") from error


def copied(net: nn.Module, batch: Any) -> nn.Module:
    """Return a copy of the net on the CPU in training mode, with weights for lazy modules, for which it has to run."""
    try:
        net = copy.deepcopy(getattr(net, "_orig_mod", net))  # a compiled module wraps the plain one
        net = (net if any(tensor.is_meta for tensor in net.parameters()) else net.cpu()).train()
    except Exception as error:
        raise ValueError(f"net = {type(net).__name__}: copy.deepcopy fails on it ({one_line(error)})") from error
    materialize_(net, batch)
    net.zero_grad()
    return net


def _require_gradients_of_embeddings_(net: nn.Module) -> None:
    """Turn off the gradients of all parameters except embeddings, since only gradients of activations are needed."""
    net.requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            module.weight.requires_grad_(True)


def forward_arguments(batch: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the keyword arguments of `forward` that a batch contains.

    Raises:
        ValueError: the batch has no tensor, no samples, or values that are not finite.
    """
    arguments = [batch] if isinstance(batch, Tensor) else list(batch) if isinstance(batch, list | tuple) else []
    named = dict(batch) if isinstance(batch, Mapping) else {}
    tensors = tensors_in((arguments, named))
    if not tensors:
        raise ValueError(
            f"batch = {type(batch).__name__}: must be a tensor, or a tuple or dict of the arguments of forward with at "
            "least one tensor"
        )
    if tensors[0].dim() == 0 or tensors[0].numel() == 0:
        raise ValueError(f"batch = {batch_shape(batch)}: must have at least one sample on its first axis")
    if any(not _is_finite(tensor, mask=len(tensors) > 1) for tensor in tensors):
        raise ValueError(f"batch = {batch_shape(batch)}: must not contain NaN or infinite values")
    return arguments, named


def _is_finite(tensor: Tensor, *, mask: bool) -> bool:
    """Return whether a tensor has neither NaN nor infinity; −inf is allowed if it may be an attention mask."""
    finite = tensor.isfinite() | tensor.isneginf() if mask and tensor.is_floating_point() else tensor.isfinite()
    return bool(finite.all())


def batch_shape(batch: Any) -> str:
    """Return the shapes of all tensors of a batch as text for messages, such as `shape (8, 3, 64, 64)`."""
    return f"shape {', '.join(str(tuple(tensor.shape)) for tensor in tensors_in(batch))}"
