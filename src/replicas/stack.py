"""The nets of a group as one: what each of them holds, stacked along a first axis of replicas."""

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
    """Some consecutive replicas' share of a stack: views, the parameters as leaves that gradients can be asked of."""

    parameters: dict[str, Tensor]
    rest: dict[str, Tensor]
    scalars: list[Tensor]


class Stack:
    """What R nets of one architecture hold.

    parameters: (R, P), a net's trainable parameters as one row, in the order of `named_parameters`; columns: where in
    it each stands. rest: buffers and frozen parameters by name, (R, *shape). scalars: numbers that differ between the
    modules (the scales of residual modules), (R,) each in float64, which combines with tensors as a number does.
    template: a net of its own, that passes run through with any rows. The nets' own tensors become
    views of the stack, so that each net is at every moment what its replica has come to.
    Raises ValueError for nets that are not of one architecture, or of several types of parameters.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        self.nets = list(nets)
        self.template = copy.deepcopy(self.nets[0])
        self._shapes = {name: each.shape for name, each in _trainable(self.template).items()}
        self._slots = list(_slots(self.template))
        self._check(nets)
        scalars = varying_scalars(self.nets)
        self.places: list[Place] = list(scalars)
        first = next(iter(_trainable(self.template).values()))
        self.parameters = torch.stack([_flat(_trainable(net)) for net in nets]).detach()
        edges = [0, *accumulate(shape.numel() for shape in self._shapes.values())]
        self.columns = [slice(*pair) for pair in pairwise(edges)]
        names = [name for name in _state(self.template) if name not in self._shapes]
        states = [_state(net) for net in nets]
        self.rest = {name: torch.stack([state[name].detach() for state in states]) for name in names}
        values = [torch.tensor(scalars[place], dtype=torch.float64) for place in self.places]
        self.scalars = [each.to(first.device) for each in values]
        self._lend()

    def __len__(self) -> int:
        return len(self.nets)

    def rows(self, span: slice) -> StackRows:
        """Those of `span`; of a stack whose parameters have moved since (`keep`), no longer."""
        leaves = {name: view.requires_grad_() for name, view in self._views(self.parameters[span]).items()}
        return StackRows(
            leaves,
            {name: each[span] for name, each in self.rest.items()},
            [each[span] for each in self.scalars],
        )

    def keep(self, rows: Sequence[int]) -> None:
        """Let the others go; those that stay move together. A net that goes keeps what it has come to."""
        for row in set(range(len(self))) - set(rows):
            self._detach(self.nets[row])
        index = torch.tensor(list(rows), device=self.parameters.device)
        self.nets = [self.nets[row] for row in rows]
        self.parameters = self.parameters.index_select(0, index)
        self.rest = {name: each.index_select(0, index) for name, each in self.rest.items()}
        self.scalars = [each.index_select(0, index) for each in self.scalars]
        self._lend()

    def of(self, row: int, matrix: Tensor) -> list[Tensor]:
        """A row of (R, P), such as an optimizer's state, as views of the shapes of the parameters."""
        return [view[0] for view in self._views(matrix[row : row + 1]).values()]

    def state_dict(self, row: int, parameters: Tensor, rest: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a net's own would be with a row of these, which may be copies of this stack's at another moment."""
        held = dict(zip(self._shapes, self.of(row, parameters), strict=True))
        held |= {name: each[row] for name, each in rest.items()}
        names = {id(tensor): name for name, tensor in _state(self.template).items()}  # weights that are tied have two
        return {name: held[names[id(each)]] for name, each in self.template.state_dict(keep_vars=True).items()}

    @contextmanager
    def holding(self, state: Mapping[str, Tensor], scalars: Sequence[Any]) -> Iterator[nn.Module]:
        """Within, the template holds these instead of its own: what `torch.func.functional_call` does, in a tenth of
        the time, as where everything stands is known."""
        own = [(holder, key, holder[key]) for holder, key, _ in self._slots]
        for holder, key, name in self._slots:
            holder[key] = state[name]
        numbers = [place_in(self.template, place, value) for place, value in zip(self.places, scalars, strict=True)]
        try:
            yield self.template
            for holder, key, name in self._slots:
                if holder[key] is not state[name]:  # a buffer that the forward pass has replaced
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

    def _detach(self, net: nn.Module) -> None:
        for tensor in _state(net).values():
            tensor.data = tensor.data.clone()

    def _check(self, nets: Sequence[nn.Module]) -> None:
        types = {(each.dtype, each.device) for each in _trainable(self.template).values()}
        if len(types) != 1:
            raise ValueError(f"model: {'no parameters to train' if not types else 'parameters of several types'}")
        wanted = {name: each.shape for name, each in _state(self.template).items()}
        for net in nets:
            assert {name: each.shape for name, each in _state(net).items()} == wanted


def _state(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once, those that no state_dict has among them."""
    return dict(net.named_parameters()) | dict(net.named_buffers())


def _slots(net: nn.Module) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Where each tensor of `_state` stands, also where it stands twice: a module's dict, the key, its name."""
    names = {id(tensor): name for name, tensor in _state(net).items()}
    for module in net.modules():
        for holder in (module._parameters, module._buffers):
            for key, tensor in holder.items():
                if tensor is not None:
                    yield holder, key, names[id(tensor)]


def _trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in net.named_parameters() if each.requires_grad}


def _flat(parameters: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([each.detach().reshape(-1) for each in parameters.values()])
