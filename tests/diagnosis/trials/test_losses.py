"""Losses that users give or that follow from the targets, and their chance values, against values by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from start_training.diagnosis.evidence.prepare import prepare
from start_training.diagnosis.trials.forward_batch import ForwardBatch
from start_training.diagnosis.trials.guessed_loss import LossFails
from start_training.diagnosis.trials.loss_calls import LossCalls
from start_training.diagnosis.trials.objective import Objective

RAND = torch.Generator().manual_seed(3)


def drawn(*shape):
    return torch.randn(*shape, generator=RAND)


def chosen(classes, *shape):
    return torch.randint(0, classes, shape, generator=RAND)


class Returns(nn.Module):
    """A net whose outputs do not depend on the inputs."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs):
        return self.outputs


def evaluate(outputs, targets, loss=None):
    objective = Objective(nn.Identity(), loss)
    return objective(Returns(outputs), ForwardBatch((torch.zeros(1),), {}, targets, None)), objective.text


Z, Y = drawn(6, 4), torch.tensor([0, 1, 1, 3, 2, 1])
T, LABELS = drawn(5, 7, 9), chosen(9, 5, 7)
S, PIXELS = drawn(2, 3, 4, 5), chosen(3, 2, 4, 5)
R, ONE, BITS = drawn(6, 4), drawn(6, 1), torch.tensor([0, 1, 1, 0, 1, 1])
CE, BCE, MSE = F.cross_entropy, F.binary_cross_entropy_with_logits, F.mse_loss
WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 3, 4]), label_smoothing=0.1, ignore_index=3)
CASES = {
    "classes": (Z, Y, None, CE(Z, Y)),
    "uint8 classes in a column": (Z, Y[:, None].to(torch.uint8), None, CE(Z, Y)),
    "ignored class": (Z, torch.where(Y == 3, -1, Y), None, CE(Z[Y != 3], Y[Y != 3])),
    "ignored pixels": (S, torch.where(PIXELS == 2, 255, PIXELS), None, CE(S, torch.where(PIXELS == 2, -100, PIXELS))),
    "pixels": (S, PIXELS, None, CE(S, PIXELS)),
    "pixels with a channel": (S, PIXELS[:, None], None, CE(S, PIXELS)),
    "tokens": (T, LABELS, None, CE(T.flatten(0, 1), LABELS.flatten())),
    "labels of several outputs": (Z, BITS[:, None].expand(6, 4).bool(), None, BCE(Z, BITS[:, None].expand(6, 4) * 1.0)),
    "bits of one output": (ONE, BITS, None, BCE(ONE[:, 0], BITS * 1.0)),
    "bits of probabilities": ((p := ONE.clone().requires_grad_().sigmoid()), BITS, None, MSE(p[:, 0], BITS * 1.0)),
    "numbers": (Z, R, None, MSE(Z, R)),
    "numbers in a row": (ONE, R[:, 0], None, MSE(ONE[:, 0], R[:, 0])),
    "counts": (ONE, Y + 5, None, MSE(ONE[:, 0], Y + 5.0)),
    "outputs by name": ({"logits": Z, "past_key_values": R}, Y, None, CE(Z, Y)),
    "auxiliary outputs": ((Z, R, ONE), Y, None, CE(Z, Y) + CE(R, Y)),
    "two targets": ((Z, ONE), (Y, R[:, :1]), None, CE(Z, Y) + MSE(ONE, R[:, :1])),
    "two targets by name": ({"b": ONE, "a": Z}, {"a": Y, "b": R[:, :1]}, None, CE(Z, Y) + MSE(ONE, R[:, :1])),
    "attribute loss": (SimpleNamespace(loss=Z.sum(), logits=Z), Y, None, Z.sum()),
    "losses by name": ({"a": Z.sum(), "b": R.sum()}, None, None, Z.sum() + R.sum()),
    "one number": (Z.sum(), None, None, Z.sum()),
    "name": (Z, Y, "cross_entropy", CE(Z, Y)),
    "name of a class": (Z, Y, "CrossEntropyLoss", CE(Z, Y)),
    "name for tokens": (T, LABELS.int(), "cross_entropy", CE(T.flatten(0, 1), LABELS.flatten())),
    "name for numbers in a row": (ONE, R[:, 0], "mse", MSE(ONE[:, 0], R[:, 0])),
    "name for bits": (ONE, BITS, "bce", BCE(ONE[:, 0], BITS * 1.0)),
    "name for a tuple": ((Z, R), Y, "cross_entropy", CE(Z, Y)),
    "class": (Z, Y, nn.CrossEntropyLoss, CE(Z, Y)),
    "module": (Z, Y, WEIGHTED, WEIGHTED(Z, Y)),
    "module in float64": (Z.double(), Y, WEIGHTED, WEIGHTED(Z, Y)),
    "module for tokens": (T, LABELS, nn.CrossEntropyLoss(), CE(T.flatten(0, 1), LABELS.flatten())),
    "function of torch": (S, PIXELS, CE, CE(S, PIXELS)),
    "own function": ({"x": Z}, {"t": R}, lambda outputs, targets: (outputs["x"] * targets["t"]).sum(), (Z * R).sum()),
    "log-probabilities": (Z.log_softmax(1), Y, "nll", CE(Z, Y)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_what_it_is_by_hand(case):
    outputs, targets, loss, expected = CASES[case]
    evaluation, text = evaluate(outputs, targets, loss)
    assert evaluation.loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert text and not text.startswith("unknown")


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (nn.CrossEntropyLoss(reduction="none"), Y, r"must return a scalar, not a tensor of shape \(6,\)"),
        (lambda outputs, targets: 1 / 0, Y, r"fails on the outputs and targets \(division by zero\)"),
        (lambda outputs, targets: 1.0, Y, "must return a scalar, not float"),
        ("mse", None, "loss = mse: needs targets"),
        (None, Y + 4, "targets: contain class 7, but the outputs have 4 classes"),
        ("relu", Y, "loss = 'relu': must be a function of outputs and targets, one of cross_entropy, mse"),
        (7, Y, "loss = 7: must be a function"),
    ],
)  # fmt: skip
def test_a_loss_that_cannot_be_used_is_named(loss, targets, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Z, targets, loss)


def test_the_chance_value_is_that_of_the_best_constant_prediction():
    """Found by minimizing each loss over one prediction for all samples; a prediction beside it is worse."""
    cases = [
        (CE, (4,), Y, 1),
        (nn.CrossEntropyLoss(ignore_index=1), (4,), Y, 1),
        (BCE, (4,), (R > 0).double(), 1),
        (MSE, (4,), R.double(), 1),
        (F.l1_loss, (4,), R.double(), 1),
        (CE, (3,), PIXELS, (2, 3, 4, 5)),
    ]
    for loss, shape, targets, expand in cases:
        constant = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        size = (len(targets), *shape) if expand == 1 else expand

        def value(constant=constant, size=size, loss=loss, targets=targets):
            spread = constant.reshape(1, -1, *(1 for _ in size[2:])).expand(size)
            return loss(spread, targets)

        with LossCalls() as calls:
            first = value()
        descent = torch.optim.LBFGS([constant], max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

        def closure(descent=descent, value=value):
            descent.zero_grad()
            now = value()
            now.backward()
            return now

        descent.step(closure)
        assert calls.chance == pytest.approx(value().item(), abs=2e-3)
        with torch.no_grad():
            constant += 0.5
        assert value(constant * torch.arange(1, len(constant) + 1)).item() > calls.chance + 1e-3
        if loss is CE:
            assert calls.uninformed == pytest.approx(math.log(shape[0])) == pytest.approx(first.item())


def test_targets_that_are_all_the_same_have_no_chance_value():
    for outputs, targets in ((Z, torch.full((6,), 2)), (ONE, torch.full((6,), 0.3)), (Z[:1], Y[:1])):
        assert evaluate(outputs, targets)[0].chance is None
    assert evaluate(Z, Y)[0].chance == pytest.approx(1.242, abs=1e-3)


class Lit(nn.Module):
    """What a LightningModule is recognized by; `step` is its training step."""

    def __init__(self, step):
        super().__init__()
        self.net, self._step = nn.Linear(4, 4), step

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return self._step(self, batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def attached(module, batch):
    raise RuntimeError("Lit is not attached to a `Trainer`.")


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (lambda module, batch: CE(module(batch[0]), batch[1]), "training_step of Lit"),
        (lambda module, batch: {"loss": CE(module(batch[0]), batch[1])}, "training_step of Lit"),
        (lambda module, batch: None, "it returns no loss, as with manual optimization"),
        (attached, "not attached to a `Trainer`"),
    ],
)
def test_a_lightning_module_is_judged_by_its_training_step_or_else_its_forward_pass(step, text):
    module = Lit(step)
    settings = {"initializer": None, "readout_initializer": None, "nets": 2, "seed": 0, "layers": "auto"}
    prepared = prepare(module, (Z, Y), None, None, **settings)
    assert prepared.evaluation.loss.item() == pytest.approx(CE(module(Z), Y).item(), rel=1e-5)
    assert text in prepared.objective.text


def test_a_training_step_that_takes_the_batch_alone_and_one_without_forward():
    module = Lit(lambda module, batch: CE(module.net(batch["x"]), batch["y"]))
    module.training_step = lambda batch: module._step(module, batch)
    batch = ForwardBatch(({"x": Z},), {}, None, {"x": Z, "y": Y})
    assert Objective(module)(module, batch).loss.item() == pytest.approx(CE(module(Z), Y).item())
    broken = Lit(attached)
    broken.forward = lambda inputs: 1 / 0
    with pytest.raises(LossFails, match=r"cannot be used without a trainer .* and the forward pass fails"):
        Objective(broken)(broken, batch)
