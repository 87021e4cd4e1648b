"""Prepare a diagnosis: find what the batch means and the loss, and evaluate it once on a copy of the net."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from start_training.diagnosis.evidence.nets import ModuleFails, Nets, module_fails_on
from start_training.diagnosis.trials.batch_forms import forms
from start_training.diagnosis.trials.forward_batch import ForwardBatch, batches_in, check_batch
from start_training.diagnosis.trials.guessed_loss import LossFails
from start_training.diagnosis.trials.named_loss import Loss
from start_training.diagnosis.trials.objective import Evaluation, Objective
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

    Of the ways in which a batch may be meant (see `forms`), the first is taken that works and has a known loss, or the
    first that works. A batch is converted to the precision of the net if the net fails on it as it is.

    Args:
        net: As for `diagnose`, as the other arguments.
        batch: What the net takes.
        targets: The targets.
        loss: The loss.
        settings: Arguments of `Nets`.

    Raises:
        ValueError: the batch cannot be used, or the net fails on it.
    """
    if isinstance(net, torch.jit.ScriptModule):
        raise ValueError(f"net = {type(net).__name__}: must not be scripted; pass the module itself")
    problems, working = list[ValueError](), list[Prepared]()
    for number, meanings in enumerate(_meanings(net, batches_in(batch, targets))):
        for batches in meanings:
            try:
                check_batch(net, batches[0])
                prepared = _evaluated(net, batches, loss, settings)
            except ValueError as error:
                problems.append(error)
                continue
            if number or not prepared.objective.substitute:
                return prepared
            working.append(prepared)
        if working:
            return working[0]
    raise next((one for one in problems if isinstance(one, LossFails)), problems[0])


def _meanings(net: nn.Module, given: Sequence[tuple[Any, Any]]) -> Iterator[list[list[ForwardBatch]]]:
    """Yield the likely ways in which all batches may be meant, then others; last, a list as batches of its own."""
    candidates = [forms(net, batch, targets) for batch, targets in given]
    for kind in (0, 1):
        yield _by_meaning([one[kind] for one in candidates])
    [(batch, targets), *others] = given
    if not others and targets is None and isinstance(batch, list):
        entries = [_interpretations(net, one) for one in batch if isinstance(one, list | tuple | Mapping)]
        if len(entries) == len(batch):
            yield _by_meaning(entries)


def _interpretations(net: nn.Module, batch: Any) -> list[ForwardBatch]:
    likely, others = forms(net, batch)
    return likely + others


def _by_meaning(forms_of: Sequence[Sequence[ForwardBatch]]) -> list[list[ForwardBatch]]:
    return [[one.map(Tensor.cpu) for one in batches] for batches in zip(*forms_of, strict=False)]


def _evaluated(net: nn.Module, batches: list[ForwardBatch], loss: Loss | str | None, settings: Any) -> Prepared:
    nets = Nets(net, batches[0], **settings)
    first = nets.first()
    kinds = {one.dtype for one in first.parameters() if one.is_floating_point()}
    dtype = kinds.pop() if len(kinds) == 1 else torch.float32
    converted = [batch.map(lambda one: one.to(dtype) if one.is_floating_point() else one) for batch in batches]
    problems = list[ValueError]()
    for tried in (batches, converted):
        objective = Objective(net, loss, seed=settings["seed"])
        try:
            generator = torch.Generator().manual_seed(settings["seed"])
            with module_fails_on(tried[0].shape), isolate_random_streams(generator), torch.enable_grad():
                evaluation, ready = objective.prepared(copy.deepcopy(first), tried[0])
                more = tried[1:]
                if objective.substitute:
                    more = [objective.prepared(copy.deepcopy(first), one)[1] for one in more]
            nets.objective = None if objective.substitute else objective
            return Prepared(nets, first, [ready, *more], objective, evaluation, settings)
        except (ModuleFails, LossFails) as error:
            problems.append(error)
    raise problems[0]
