"""Draw several initializations of a module in one copy of it, and measure them one after the other."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from start_training.diagnosis.change import Change
from start_training.diagnosis.evidence.dropout_calls import DropoutCalls
from start_training.diagnosis.evidence.net_measurement import Mechanisms, NetMeasurement, places_of, weights_reached
from start_training.diagnosis.evidence.probe import Probe, Reading
from start_training.diagnosis.evidence.redraw import Redraw, second_moment_variances
from start_training.diagnosis.trials.forward_batch import ForwardBatch
from start_training.diagnosis.trials.guessed_loss import LossFails
from start_training.diagnosis.trials.objective import Objective
from start_training.initializers.drawing import FillTensor
from start_training.initializers.initialize import initialize_
from start_training.initializers.materialize import materialize_
from start_training.lengths.forward_trace import ForwardTrace
from start_training.lengths.layer_choice import LayerChoice, Layers, NoLayers, choose_layers
from start_training.lengths.signal.attention_entropy import AttentionEntropy
from start_training.lengths.signal.sensitivity import sensitivity, slightly_changed
from start_training.lengths.signal.time_gradients import TimeGradients
from start_training.settings import described, one_line
from start_training.streams import isolate_random_streams

SMALL, LARGE = 2**21, 2**25  # numbers of weights up to which float64 is used at once, or if float32 does not do


class Nets:
    """Several initializations of a module, drawn one after the other in a copy on the CPU in training mode.

    The copy is in float64, so that nets of any practical depth neither overflow nor underflow. It has the precision of
    the module instead if it has more than `LARGE` weights or fails in float64, or if it has more than `SMALL` weights
    and no length or gradient overflows or underflows. Neither the module nor the
    global random streams of Python, NumPy and torch are changed. Python hooks of the module are executed on the copy
    too.

    Args:
        net: The module.
        batch: The arguments of `net.forward`, and targets if the loss needs some.
        initializer: Initializer of each net, as in `initialize_`; None: the first net has the weights of the module,
            and the others are redrawn from them (see `Redraw`).
        readout_initializer: Initializer of the readout, as in `initialize_`.
        nets: Number of nets.
        seed: Seed of all random numbers.
        layers: The layers to measure, as in `choose_layers`.

    Attributes:
        objective: The loss whose gradient goes back; None: a random cotangent of the outputs.
        undrawn: Why the initializer has drawn nothing, after `first`.

    Raises:
        ValueError: the module cannot be copied.
    """

    def __init__(
        self,
        net: nn.Module,
        batch: ForwardBatch,
        initializer: FillTensor | None = None,
        readout_initializer: FillTensor | None = None,
        *,
        nets: int,
        seed: int,
        layers: Layers,
    ) -> None:
        self._batch = batch
        self.objective: Objective | None = None
        self.undrawn = ""
        self._initializer, self._readout_initializer = initializer, readout_initializer
        self._nets, self.seed, self._layers = nets, seed, layers
        self._changes: list[Change] = []
        self._original = net
        self._weights = sum(0 if is_lazy(weight) else weight.numel() for weight in net.parameters())
        self._begin(double=self._weights <= SMALL)

    def _begin(self, *, double: bool) -> None:
        self._double = double
        self.net = copied(self._original, self._batch)
        self._frozen = [parameter for parameter in self.net.parameters() if not parameter.requires_grad]
        _require_gradients_of_embeddings_(self.net)
        if double:
            self.net.double()
        for change in () if self._initializer else self._changes:
            change.apply_(self.net)
        self._redraw = None if self._initializer else Redraw(self.net)

    def change(self, change: Change) -> None:
        """Apply a change to all nets that `measure` draws from now on."""
        self._changes.append(change)
        if not self._initializer:
            change.apply_(self.net)

    def measure(self) -> NetMeasurement:
        """Draw and measure all nets: each passes the batch forward, and a gradient or a random cotangent backward."""
        with isolate_random_streams():
            try:
                measured = self._read()
            except (ModuleFails, LossFails):
                if not self._double:
                    raise
                self._begin(double=False)  # the forward pass may create float32 tensors
                measured = self._read()
            if not self._double and self._weights <= LARGE and measured.out_of_range:
                self._begin(double=True)
                with suppress(ModuleFails, LossFails):  # it may support float32 only
                    return self._read()
                self._begin(double=False)
            return measured

    def _read(self) -> NetMeasurement:
        generator, readings = torch.Generator().manual_seed(self.seed), list[list[Reading]]()
        batch = self._batch.map(self._converted)
        trace = ForwardTrace(self.net, batch.inputs)
        with module_fails_on(batch.shape), torch.enable_grad(), trace:
            self._pass(batch)
        trace.remove()
        choice = choose_layers(self.net, self._layers, trace=trace, batch=batch.inputs)
        mechanisms = Mechanisms({}, {}, (), math.nan)
        with Probe(self.net, choice) as probe:
            for index in range(self._nets):
                self._draw(index, generator)
                seed = int(torch.randint(2**62, (), generator=generator))  # seed of dropout and of the cotangent
                torch.default_generator.manual_seed(seed)
                with module_fails_on(batch.shape), torch.enable_grad():
                    readings.append(probe.read(batch, torch.Generator().manual_seed(seed), self.objective))
                    if not index:
                        mechanisms = self._observe(batch, choice)
        names = [reading.name for reading in readings[0]]
        if any([reading.name for reading in of_net] != names for of_net in readings):
            text = "its forward passes execute different modules; name layers that every pass executes by layers=…"
            raise ValueError(f"net = {type(self.net).__name__}: {text}")
        normalized = any(isinstance(module, _BatchNorm) for module in self.net.modules())
        shared = second_moment_variances(self.net) if self._redraw else {}
        graph = places_of(names, choice, trace), weights_reached(trace)
        return NetMeasurement(readings, *graph, choice.coverage, mechanisms, normalized=normalized, shared=shared)

    def _pass(self, batch: ForwardBatch) -> None:
        if self.objective is not None:
            self.objective.loss(self.net, batch)
        else:
            self.net(*batch.arguments, **batch.named)

    def _observe(self, batch: ForwardBatch, choice: LayerChoice) -> Mechanisms:
        """Measure attention, dropout, gradients through time, and the growth of a small change of the inputs."""
        generator = torch.Generator().manual_seed(self.seed)
        with_graph = batch.map(lambda one: one.clone().requires_grad_().clone() if one.is_floating_point() else one)
        attention, dropout, time = AttentionEntropy(self.net), DropoutCalls(self.net), TimeGradients(self.net)
        with attention, dropout, time:
            self._pass(with_graph)
        through_time = tuple(time.measure(generator))
        changed = batch.map(lambda tensor: slightly_changed(tensor, generator))
        growth = sensitivity(self.net, choice, partial(self._pass, batch), partial(self._pass, changed))
        return Mechanisms(dict(attention.entropies), dropout.probabilities, through_time, growth)

    def first(self) -> nn.Module:
        """Return a copy of the module in its own precision, with the weights of the first net."""
        net = copied(self._original, self._batch)
        if self._initializer:
            generator = torch.Generator().manual_seed(self.seed)
            drawn = initialize_(
                net, self._initializer, readout_initializer=self._readout_initializer, generator=generator
            )
            if not drawn.drawn:
                self.undrawn = f"the initializer has drawn none of the weights: {'; '.join(map(str, drawn.left[:3]))}"
        return net

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


class ModuleFails(ValueError):
    """The error that the forward or backward pass of a module fails on the batch."""


@contextmanager
def module_fails_on(batch: str) -> Iterator[None]:
    """Raise any error of the user's module as `ModuleFails`, naming the shape of the batch."""
    try:
        yield
    except Exception as error:  # the module of the user may raise any exception
        if isinstance(error, NoLayers | LossFails) or (
            isinstance(error, ValueError) and str(error).startswith("net = ")
        ):
            raise
        raise ModuleFails(f"batch = {batch}: the net fails on this batch ({described(error)})") from error


def copied(net: nn.Module, batch: ForwardBatch) -> nn.Module:
    """Return a copy of the net on the CPU in training mode, with weights for lazy modules, for which it has to run."""
    try:
        with _leaves_only(net):
            net = copy.deepcopy(getattr(net, "_orig_mod", net))  # a compiled module wraps the plain one
        net = (net if any(tensor.is_meta for tensor in net.parameters()) else net.cpu()).train()
    except Exception as error:
        raise ValueError(f"net = {type(net).__name__}: copy.deepcopy fails on it ({one_line(error)})") from error
    batch = batch.map(Tensor.cpu)
    materialize_(net, batch.named or batch.arguments)
    net.zero_grad()
    return net


@contextmanager
def _leaves_only(net: nn.Module) -> Iterator[None]:
    """Detach tensors that are plain attributes of modules for a while, such as the weight of the old `weight_norm`.

    They are computed again in the next forward pass; with their graph they cannot be copied.
    """
    computed = [
        (vars(module), name, value)
        for module in net.modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and value.grad_fn is not None
    ]
    for attributes, name, value in computed:
        attributes[name] = value.detach()
    try:
        yield
    finally:
        for attributes, name, value in computed:
            attributes[name] = value


def _require_gradients_of_embeddings_(net: nn.Module) -> None:
    """Turn off the gradients of all parameters except embeddings, since only gradients of activations are needed."""
    net.requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            module.weight.requires_grad_(True)
