"""The nets of a group as one: their tensors and varying numbers, stacked along a first axis of replicas."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from start_training.replicas.scalars import Place, place_in, varying_scalars


@dataclass(frozen=True)
class StackRows:
    """The part of a stack that belongs to k consecutive replicas, as views; the parameters are leaves of autograd."""

    parameters: dict[str, Tensor]
    rest: dict[str, Tensor]
    scalars: list[Tensor]


class Stack:
    """The state of R nets of one architecture.

    The tensors of the nets become views of the stack, so that each net always has the present state of its replica.

    Attributes:
        parameters: (R, P); a row holds a net's trainable parameters in the order of `named_parameters`.
        columns: The columns of each parameter.
        rest: Buffers and frozen parameters by name, (R, *shape).
        places: Where modules of the nets hold numbers that differ (the scales of residual modules).
        scalars: These numbers, (R,) each; as float64 they combine with tensors like Python's numbers.
        template: A copy of a net, through which passes run with the state of any replicas.
    Raises:
        ValueError: the nets are not of one architecture, or have parameters of several types.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        self.nets = list(nets)
        self.template = copy.deepcopy(self.nets[0])
        self._shapes = {name: each.shape for name, each in _trainable(self.template).items()}
        self._slots = list(_slots(self.template))
        types = {(each.dtype, each.device) for each in _trainable(self.template).values()}
        if len(types) != 1:
            raise ValueError(f"model: {'no parameters to train' if not types else 'parameters of several types'}")
        scalars = varying_scalars(self.nets)
        self.places: list[Place] = list(scalars)
        flat = [torch.cat([each.detach().reshape(-1) for each in _trainable(net).values()]) for net in nets]
        self.parameters = torch.stack(flat)
        edges = [0, *accumulate(shape.numel() for shape in self._shapes.values())]
        self.columns = [slice(*pair) for pair in pairwise(edges)]
        states = [_state(net) for net in nets]
        names = [name for name in states[0] if name not in self._shapes]
        self.rest = {name: torch.stack([state[name].detach() for state in states]) for name in names}
        device = self.parameters.device
        self.scalars = [torch.tensor(scalars[place], dtype=torch.float64).to(device) for place in self.places]
        self._lend()

    def __len__(self) -> int:
        return len(self.nets)

    def rows(self, span: slice) -> StackRows:
        """The part of the replicas in `span`, which `keep` invalidates."""
        leaves = {name: view.requires_grad_() for name, view in self._views(self.parameters[span]).items()}
        rest = {name: each[span] for name, each in self.rest.items()}
        return StackRows(leaves, rest, [each[span] for each in self.scalars])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other replicas, whose nets get copies of their state."""
        for row in set(range(len(self))) - set(rows):
            for tensor in _state(self.nets[row]).values():
                tensor.data = tensor.data.clone()
        index = torch.tensor(list(rows), device=self.parameters.device)
        self.nets = [self.nets[row] for row in rows]
        self.parameters = self.parameters.index_select(0, index)
        self.rest = {name: each.index_select(0, index) for name, each in self.rest.items()}
        self.scalars = [each.index_select(0, index) for each in self.scalars]
        self._lend()

    def of(self, row: int, matrix: Tensor) -> list[Tensor]:
        """A row of an (R, P) matrix, such as an optimizer's state, as views of the shapes of the parameters."""
        return [view[0] for view in self._views(matrix[row : row + 1]).values()]

    def state_dict(self, row: int, parameters: Tensor, rest: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state_dict of a net with a row of these, which may be copies of the stack's tensors at another step."""
        held = dict(zip(self._shapes, self.of(row, parameters), strict=True))
        held |= {name: each[row] for name, each in rest.items()}
        names = {id(tensor): name for name, tensor in _state(self.template).items()}  # weights that are tied have two
        return {name: held[names[id(each)]] for name, each in self.template.state_dict(keep_vars=True).items()}

    @contextmanager
    def holding(self, state: Mapping[str, Tensor], scalars: Sequence[Any]) -> Iterator[nn.Module]:
        """The template with other tensors and numbers, within the block.

        Does what `torch.func.functional_call` does, in a tenth of the time, since it knows where all of them are.
        """
        own = [(holder, key, holder[key]) for holder, key, _ in self._slots]
        for holder, key, name in self._slots:
            holder[key] = state[name]
        numbers = [place_in(self.template, place, value) for place, value in zip(self.places, scalars, strict=True)]
        try:
            yield self.template
            for holder, key, name in self._slots:
                if holder[key] is not state[name]:  # the forward pass has replaced a buffer
                    state[name].copy_(holder[key].detach())
        finally:
            for holder, key, tensor in own:
                holder[key] = tensor
            for place, value in zip(self.places, numbers, strict=True):
                place_in(self.template, place, value)

    def _views(self, rows: Tensor) -> dict[str, Tensor]:
        parts = (rows.detach()[:, columns] for columns in self.columns)
        pairs = zip(self._shapes.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) if shape else part.squeeze(1) for (name, shape), part in pairs}

    def _lend(self) -> None:
        for row, net in enumerate(self.nets):
            parts = dict(zip(self._shapes, self.of(row, self.parameters), strict=True))
            for name, tensor in _state(net).items():
                tensor.data = parts[name] if name in parts else self.rest[name][row]


def _state(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once; also those that a state_dict leaves out."""
    return dict(net.named_parameters()) | dict(net.named_buffers())


def _slots(net: nn.Module) -> Iterator[tuple[dict[str, Any], str, str]]:
    """For each place that holds a tensor of `_state`: a dictionary of a module, the key, and the tensor's name."""
    names = {id(tensor): name for name, tensor in _state(net).items()}
    for module in net.modules():
        for holder in (module._parameters, module._buffers):
            for key, tensor in holder.items():
                if tensor is not None:
                    yield holder, key, names[id(tensor)]


def _trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in net.named_parameters() if each.requires_grad}
