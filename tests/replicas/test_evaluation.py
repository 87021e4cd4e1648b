"""Losses and accuracies of all replicas at once are those of each net on its own."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch.nn.functional import cross_entropy

from src.datamodules.loader import EvaluationLoader
from src.datamodules.samples import Samples
from src.replicas.evaluation import looks, metrics
from src.replicas.stack import Stack
from tests.replicas.nets import Normalized


@pytest.fixture
def nets() -> list[Normalized]:
    torch.manual_seed(0)
    made = [Normalized(6, 3, eta=eta) for eta in (1.0, 0.5, 2.0, 1.5)]
    for net in made:
        net(3 * torch.randn(50, 6))  # averages that are not batches'
    return made


@pytest.fixture
def loader() -> EvaluationLoader:
    return EvaluationLoader(Samples(torch.randn(23, 6), torch.randint(3, (23,))), 10)


@pytest.mark.parametrize("evaluate", [metrics, looks])
@pytest.mark.parametrize("spans", [[slice(0, 4)], [slice(0, 1), slice(1, 4)]], ids=["at once", "in parts"])
def test_each_replica_is_evaluated_as_by_itself(nets, loader, evaluate, spans):
    stack = Stack(nets)
    losses, accuracies = evaluate(stack, loader, spans, nullcontext)
    for row, net in enumerate(nets):
        own = copy.deepcopy(net).eval()
        with torch.no_grad():
            logits = torch.cat([own(inputs) for inputs, *_ in loader])
        targets = torch.cat([targets for _, targets, *_ in loader])
        assert float(losses[row]) == pytest.approx(float(cross_entropy(logits, targets)), rel=1e-5)
        assert float(accuracies[row]) == pytest.approx(float((logits.argmax(1) == targets).float().mean()))
    assert len({round(float(loss), 5) for loss in losses}) == 4
    assert losses.dtype == (torch.float64 if evaluate is looks else torch.float32)  # as callbacks, as torchmetrics
    assert stack.template.training


def test_logits_that_are_not_finite_are_wrong_and_no_other_replicas_matter(nets, loader):
    healthy = looks(Stack(copy.deepcopy(nets)), loader, [slice(0, 4)], nullcontext)
    nets[1].readout.bias.data[:] = torch.nan
    losses, accuracies = looks(Stack(nets), loader, [slice(0, 4)], nullcontext)
    assert losses[1].isnan() and accuracies[1] == 0
    others = [0, 2, 3]
    torch.testing.assert_close(losses[others], healthy[0][others])
    torch.testing.assert_close(accuracies[others], healthy[1][others])
