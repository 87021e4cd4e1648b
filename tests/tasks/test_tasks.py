"""Scores added up over batches are those of all samples, as torchmetrics and scikit-learn compute them."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from start_training.tasks.classification import Classification
from start_training.tasks.merit import ACCURACY, Merit, objective
from start_training.tasks.multilabel import Multilabel
from start_training.tasks.regression import Regression

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(50, 3, generator=GENERATOR)
CLASSES = torch.randint(3, (50,), generator=GENERATOR)
LABELS = torch.randint(2, (50, 3), generator=GENERATOR)
NUMBERS = LOGITS + 0.5 * torch.randn(50, 3, generator=GENERATOR)
CASES = [
    (Classification(outputs=3), CLASSES, cross_entropy(LOGITS, CLASSES), (LOGITS.argmax(1) == CLASSES).double().mean()),
    (Multilabel(outputs=3), LABELS, binary_cross_entropy_with_logits(LOGITS, LABELS.float()),
     ((LOGITS > 0) == LABELS.bool()).double().mean()),
    (Regression(outputs=3), NUMBERS, mse_loss(LOGITS, NUMBERS), r2_score(NUMBERS, LOGITS)),
]  # fmt: skip


@pytest.mark.parametrize(("task", "targets", "loss", "score"), CASES)
def test_loss_and_score_of_batches_are_those_of_all_samples(task, targets, loss, score):
    spans = [slice(0, 20), slice(20, 50)]
    sums = sum(task.sums(LOGITS[span], targets[span]).double() for span in spans)
    assert len(sums) == task.width
    assert task.score(sums.tolist(), 50) == pytest.approx(float(score), rel=1e-6)
    metric = task.metric()
    for span in spans:
        metric.update(LOGITS[span], targets[span])
    assert float(metric.compute()) == pytest.approx(float(score), rel=1e-6)
    assert torch.allclose(task.loss(LOGITS, targets), loss)
    assert torch.allclose(task.summed_loss(LOGITS, targets), loss * 50)


def test_targets_of_one_output_may_have_no_axis_for_it_and_others_are_refused():
    task = Regression(outputs=1)
    assert torch.equal(task.loss(LOGITS[:, :1], NUMBERS[:, 0]), mse_loss(LOGITS[:, :1], NUMBERS[:, :1]))
    with pytest.raises(ValueError, match=r"^task = regression: needs a target for each output"):
        task.loss(LOGITS, NUMBERS[:, 0])
    with pytest.raises(ValueError, match=r"^task = classification: needs class numbers, but the targets are of torch"):
        Classification().outputs_of_targets(NUMBERS)
    with pytest.raises(ValueError, match=r"^task = classification: outputs have shape"):
        Classification().sums(LOGITS, NUMBERS)
    with pytest.raises(ValueError, match=r"^task = multilabel: needs 0 or 1"):
        Multilabel().outputs_of_targets(CLASSES)


def test_a_constant_target_scores_zero_and_outputs_that_are_not_finite_are_wrong():
    task = Regression(outputs=1)
    assert task.score(task.sums(LOGITS[:4, :1], torch.ones(4)).tolist(), 4) == 0
    nothing = torch.full((2, 3), math.nan)
    assert float(Classification(outputs=3).sums(nothing, CLASSES[:2])) == 0
    assert float(Multilabel(outputs=3).sums(nothing, LABELS[:2])) == 0


def test_a_loss_of_the_users_takes_the_place_of_the_tasks_and_must_be_one_number():
    task = Regression(outputs=3, loss=nn.L1Loss())
    assert torch.equal(task.loss(LOGITS, NUMBERS), (LOGITS - NUMBERS).abs().mean())
    assert task.chance_loss() is None and Classification(outputs=3).chance_loss() == pytest.approx(math.log(3))
    with pytest.raises(ValueError, match=r"^task.loss = .*returned a loss of shape \(50, 3\); must return the mean"):
        Regression(outputs=3, loss=nn.L1Loss(reduction="none")).loss(LOGITS, NUMBERS)
    with pytest.raises(ValueError, match=r"^loss = 3: must be a node with _target_"):
        Regression(loss=3)


def test_the_merit_of_a_range_test_and_the_objective_of_a_sweeper():
    loss, score = np.array([0.5, math.nan]), np.array([0.8, 0.1])
    assert ACCURACY.combined(loss, score) == pytest.approx([0.8 + math.exp(-0.5), 0.1])
    assert Merit("r2", likelihood=False).combined(loss, score).tolist() == [0.0, -math.inf]
    metrics = {"val/loss": 0.5, "val/accuracy": 0.8}
    assert objective(metrics, "completed", ACCURACY) == 0.5
    assert objective(metrics, "diverged", ACCURACY) == math.inf
    other = ACCURACY.monitoring("val/accuracy", None)
    assert (other.mode, objective(metrics, "diverged", other)) == ("max", -math.inf)
    assert ACCURACY.monitoring("val/f1", None).mode == "min"
    assert objective({}, "completed", ACCURACY) is None
