"""Prepare a diagnosis: split the batch, find the loss, and evaluate it once on a copy of the net."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.diagnosis.evidence.nets import ModuleFails, Nets, module_fails_on
from start_training.diagnosis.trials.forward_batch import ForwardBatch, batches_in, forward_batch
from start_training.diagnosis.trials.objective import Evaluation, Loss, Objective
from start_training.streams import isolate_random_streams


class Prepared(NamedTuple):
    """What a diagnosis works with.

    Attributes:
        nets: The initializations whose lengths are measured.
        first: A copy of the net in its own precision, with the weights of the first initialization.
        batches: The batches, with targets.
        objective: The loss.
        evaluation: The loss of the first batch.
        settings: Arguments of `Nets`.
    """

    nets: Nets
    first: nn.Module
    batches: list[ForwardBatch]
    objective: Objective
    evaluation: Evaluation
    settings: dict[str, Any]

    def with_net(self, net: nn.Module) -> "Prepared":
        """Return the same for another net of the same architecture, such as a changed copy of `first`.

        Raises:
            ValueError: the net fails on the batch.
        """
        settings = {**self.settings, "initializer": None, "readout_initializer": None}
        nets = Nets(net, self.batches[0], **settings)
        nets.objective = None if self.objective.substitute else self.objective
        generator = torch.Generator().manual_seed(self.settings["seed"])
        with module_fails_on(self.batches[0].shape), isolate_random_streams(generator), torch.enable_grad():
            evaluation = self.objective(copy.deepcopy(net), self.batches[0])
        return self._replace(nets=nets, first=net, evaluation=evaluation, settings=settings)


def prepare(net: nn.Module, batch: Any, targets: Any, loss: Loss | str | None, **settings: Any) -> Prepared:
    """Prepare a diagnosis.

    A tuple of two entries is taken as arguments or as inputs and targets, whichever works; and a batch is converted to
    the precision of the net if the net fails on it as it is.

    Args:
        net: As for `diagnose`, as the other arguments.
        batch: What the net takes.
        targets: The targets.
        loss: The loss.
        settings: Arguments of `Nets`.

    Raises:
        ValueError: the batch cannot be used, or the net fails on it.
    """
    given, problems = batches_in(batch, targets), list[ModuleFails]()
    for other in (False, True):
        batches = [forward_batch(net, one, its, other=other).map(Tensor.cpu) for one, its in given]
        try:
            return _evaluated(net, batches, loss, settings)
        except ModuleFails as error:
            problems.append(error)
    raise problems[0]


def _evaluated(net: nn.Module, batches: list[ForwardBatch], loss: Loss | str | None, settings: Any) -> Prepared:
    nets = Nets(net, batches[0], **settings)
    first = nets.first()
    kinds = {one.dtype for one in first.parameters() if one.is_floating_point()}
    dtype = kinds.pop() if len(kinds) == 1 else torch.float32
    converted = [batch.map(lambda one: one.to(dtype) if one.is_floating_point() else one) for batch in batches]
    problems = list[ModuleFails]()
    for tried in (batches, converted):
        objective = Objective(net, loss, seed=settings["seed"])
        try:
            generator = torch.Generator().manual_seed(settings["seed"])
            with module_fails_on(tried[0].shape), isolate_random_streams(generator), torch.enable_grad():
                evaluation, ready = objective.prepared(copy.deepcopy(first), tried[0])
            nets.objective = None if objective.substitute else objective
            ready_batches = [ready, *map(objective.with_targets, tried[1:])]
            return Prepared(nets, first, ready_batches, objective, evaluation, settings)
        except ModuleFails as error:
            problems.append(error)
    raise problems[0]
