"""Losses and accuracies of stacked replicas equal those of single nets."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch.nn.functional import cross_entropy

from start_training.datamodules.loader import EvaluationLoader
from start_training.datamodules.samples import Samples
from start_training.replicas.group_evaluation import exact_metrics, logged_metrics
from start_training.replicas.stack import Stack
from tests.replicas.nets import Normalized

SAMPLES = Samples(torch.randn(23, 6, generator=torch.Generator().manual_seed(0)), torch.arange(23) % 3)
LOADER = EvaluationLoader(SAMPLES, 10)


@pytest.fixture
def nets() -> list[Normalized]:
    torch.manual_seed(0)
    made = [Normalized(6, 3, eta=eta) for eta in (1.0, 0.5, 2.0, 1.5)]
    for net in made:
        net(3 * torch.randn(50, 6))  # running averages that differ from batch averages
    return made


@pytest.mark.parametrize("evaluate", [logged_metrics, exact_metrics])
def test_metrics_of_replicas_equal_those_of_single_nets(nets, evaluate):
    """In one pass or several, with different scalar attributes, and after replicas are dropped."""
    stack = Stack(nets)
    for spans, stay in (([slice(0, 4)], [0, 1, 2, 3]), ([slice(0, 1), slice(1, 4)], [2, 3]), ([slice(0, 2)], [1])):
        losses, accuracies = evaluate(stack, LOADER, spans, nullcontext)
        for row, net in enumerate(stack.nets):
            with torch.no_grad():
                logits = copy.deepcopy(net).eval()(SAMPLES.inputs)
            assert float(losses[row]) == pytest.approx(float(cross_entropy(logits, SAMPLES.targets)), rel=1e-5)
            right = logits.argmax(1) == SAMPLES.targets
            assert float(accuracies[row]) == pytest.approx(float(right.float().mean()))
        assert len({round(float(loss), 5) for loss in losses}) == len(stack)
        assert losses.dtype == (torch.float64 if evaluate is exact_metrics else torch.float32)
        stack.keep(stay)
    assert stack.template.training and stack.template.eta == 1.0


def test_nonfinite_logits_are_wrong_and_do_not_affect_other_replicas(nets):
    healthy = exact_metrics(Stack(copy.deepcopy(nets)), LOADER, [slice(0, 4)], nullcontext)
    nets[1].readout.bias.data[:] = torch.nan
    losses, accuracies = exact_metrics(Stack(nets), LOADER, [slice(0, 4)], nullcontext)
    assert losses[1].isnan() and accuracies[1] == 0
    others = [0, 2, 3]
    torch.testing.assert_close(losses[others], healthy[0][others])
    torch.testing.assert_close(accuracies[others], healthy[1][others])
