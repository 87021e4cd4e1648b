"""The function `fix_`, which mends a net in place by what proves itself on copies of it."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import nn

from start_training.cure.cure import Cure, Tried
from start_training.cure.plans import PLANS, Patient, apply_plan_, quality
from start_training.diagnosis.diagnose import examine
from start_training.diagnosis.diagnosis import Diagnosis
from start_training.diagnosis.evidence.prepare import Prepared, prepare
from start_training.diagnosis.starts import trial_text
from start_training.diagnosis.trials.forward_batch import batches_in
from start_training.diagnosis.trials.trial_optimizers import trial_optimizers
from start_training.initializers.materialize import materialize_
from start_training.settings import AtLeast, Seed, checked, one_line
from start_training.theory.verdict import DEFAULTS, Thresholds


class _Batches:
    """The batches of a loader, which are drawn once."""

    def __init__(self, batches: list[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Any:
        return iter(self._batches)


@checked
def fix_(
    net: nn.Module,
    batch: Any,
    *,
    loss: Any = None,
    targets: Any = None,
    optimizer: Any = None,
    trial: bool | int = True,
    nets: Annotated[int, AtLeast(2)] = 10,
    thresholds: Thresholds = DEFAULTS,
    layers: str | Sequence[str] = "auto",
    seed: Seed = 0,
) -> Cure:
    """Change the weights of `net` in place so that training starts, if a change proves itself on copies.

    The net is diagnosed, and left alone if it is healthy. Otherwise changes are tried on copies, those that change
    least first: repairs of single parameters (values that are not finite, equal or zero units, dead biases, outlying
    layers, a loss at the start far above chance), the scale of residual branches, recurrent weights and gates, a sweep
    that scales all layers in the order of execution, new orthogonal weights, and the variance that theory gives for
    each activation. Each copy is diagnosed and trained for a few steps. The first that is healthy is kept; if there is
    none the best, if it is better than the net as it is: training starts with more optimizers, fewer defects, then a
    lower loss of the trial, then less drift. Frozen parameters, low-rank adapters, widths and the architecture are
    never changed. Global random streams are not changed. Sources: those of each change; docs/fix.md has a comparison.

    Args:
        net: Any module, as for `diagnose`.
        batch: As for `diagnose`, as are `loss`, `targets`, `optimizer`, `trial`, `thresholds` and `layers`.
        nets: Number of initializations whose lengths are measured in each diagnosis, at least 2.
        seed: Seed of all random numbers; the same arguments and seed give the same net.

    Returns:
        What was tried and what was kept, with the diagnosis before and after; `print` it for a report.

    Raises:
        ValueError: a setting is not allowed, or the net fails on the batch.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.ReLU())]
        >>> net, images = nn.Sequential(*layers, nn.Linear(64, 5)), torch.randn(64, 64)
        >>> cure = fix_(net, images, targets=images[:, :5].argmax(1), optimizer="sgd")
        >>> cure.before.healthy, cure.after.healthy, cure.changed
        (False, True, True)
    """
    optimizers = trial_optimizers(net, optimizer)
    given = batches_in(batch, targets)
    batch = _Batches([one for one, _ in given]) if len(given) > 1 else batch
    settings = {"nets": nets, "seed": seed, "layers": layers}
    case = prepare(net, batch, targets, loss, initializer=None, readout_initializer=None, **settings)

    def diagnosed(one: Prepared) -> Diagnosis:
        return examine(one, optimizers, trial=trial, thresholds=thresholds)

    before = diagnosed(case)
    if before.healthy:
        return Cure(before, before)
    best, tried = (case.first, before, -1), list[Tried]()
    for plan in PLANS:
        twin = copy.deepcopy(case.first)
        generator = torch.Generator().manual_seed(seed)
        try:
            change = apply_plan_(plan, Patient(twin, case, before, generator))
            if not change or any(change == one.change for one in tried):
                continue
            after = diagnosed(case.with_net(twin))
        except ValueError as error:  # the copy fails on the batch
            tried.append(Tried(one_line(error), "failed"))
            continue
        tried.append(Tried(change, _result(after)))
        if quality(after) > quality(best[1]):
            best = twin, after, len(tried) - 1
        if after.healthy and all(start.answer == "yes" for start in after.starts.values()):
            break
    twin, after, index = best
    if index >= 0:
        _copy_(twin, net, case)
        tried[index] = replace(tried[index], kept=True)
    return Cure(before, after, tuple(tried))


def _result(after: Diagnosis) -> str:
    trials = {trial.family: trial for trial in after.trials}
    texts = [trial_text(trial) for trial in trials.values()]
    defects = [f"defects: {', '.join(one.name for one in after.defects)}"] if after.defects else []
    return "; ".join([after.verdict, *defects, *texts])


@torch.no_grad()
def _copy_(source: nn.Module, net: nn.Module, case: Prepared) -> None:
    """Copy parameters that differ, and buffers that belong to weights or are not finite, into a net."""
    net = getattr(net, "_orig_mod", net)
    materialize_(net, case.batches[0].named or case.batches[0].arguments)
    values = dict(source.named_parameters()) | dict(source.named_buffers())
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        weight = isinstance(tensor, nn.Parameter) or "parametrizations" in name or not tensor.isfinite().all()
        if weight and not torch.equal(tensor, values[name].to(tensor)):
            tensor.copy_(values[name])
