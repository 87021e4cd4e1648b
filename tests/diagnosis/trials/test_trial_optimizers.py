"""Optimizers in every form that users pass: the same step on a copy of the net as on the net itself, or a message."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, RMSprop, SparseAdam
from torch.optim.lr_scheduler import StepLR

from start_training.diagnosis.trials.trial_optimizers import trial_optimizers


class Modes(SGD):
    """As a schedule-free optimizer, it has to be told that training begins."""

    def train(self):
        self.training = True

    def step(self, closure=None):
        assert self.training
        return super().step(closure)


def groups(net):
    return [
        {"params": [net[0].weight], "lr": 0.5},
        {"params": [net[0].bias, *net[1].parameters()], "weight_decay": 0.1},
    ]


FORMS = {  # family, and what is passed
    "class": ("adam", lambda net: Adam),
    "partial": ("sgd", lambda net: partial(SGD, lr=0.1, momentum=0.9, nesterov=True)),
    "other family": ("adam", lambda net: partial(RMSprop, lr=0.1)),
    "instance": ("adam", lambda net: AdamW(net.parameters(), lr=0.1, betas=(0.5, 0.9))),
    "instance with groups": ("sgd", lambda net: SGD(groups(net), lr=0.1, momentum=0.9)),
    "instance of a part": ("sgd", lambda net: SGD(net[1].parameters(), lr=0.1)),
    "modes": ("sgd", lambda net: Modes(net.parameters(), lr=0.1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_optimizer_takes_the_step_on_a_copy_that_it_takes_on_the_net(form):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    family, build = FORMS[form]
    given, before = build(net), copy.deepcopy(net.state_dict())
    [trial] = trial_optimizers(net, given)
    assert trial.family == family
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    own = given if isinstance(given, torch.optim.Optimizer) else given(net.parameters())
    trained = copy.deepcopy(net)
    for module, optimizer in ((net, own), (trained, trial.make(trained))):
        if hasattr(optimizer, "train"):
            optimizer.train()
        for _ in range(2):
            optimizer.zero_grad()
            module(torch.ones(4, 3)).square().sum().backward()
            optimizer.step()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in net.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_lazy_and_frozen_nets_and_names():
    assert trial_optimizers(nn.LazyLinear(2), Adam)[0].text == "Adam 0.001"
    assert trial_optimizers(nn.Linear(2, 2).requires_grad_(False), Adam)[0].family == "adam"
    assert {one.family for one in trial_optimizers(nn.Linear(2, 2), "AdamW")} == {"adam"}
    assert {one.family for one in trial_optimizers(nn.Linear(2, 2))} == {"sgd", "adam"}


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (LBFGS, "optimizer = LBFGS: needs a closure"),
        (SparseAdam, "optimizer = SparseAdam: cannot take a step"),
        (lambda parameters: None, "must build a torch.optim.Optimizer, not NoneType"),
        (partial(SGD, lr=-1), r"cannot be built for the parameters of net \(Invalid learning rate"),
        (SGD([nn.Parameter(torch.zeros(1))], lr=1), "parameters of another module"),
        ("rmsprop", "optimizer = 'rmsprop': must be sgd, adam or adamw"),
        (3, "optimizer = 3: must be sgd, adam or adamw"),
    ],
)
def test_an_optimizer_that_cannot_be_used_is_named(optimizer, message):
    with pytest.raises(ValueError, match=message):
        trial_optimizers(nn.Linear(2, 2), optimizer)


class Configured(nn.Linear):
    """A linear layer that configures optimizers as a LightningModule does."""

    def __init__(self, configure):
        super().__init__(2, 2)
        self._configure = configure

    def training_step(self, batch, batch_idx):
        return self(batch).sum()

    def configure_optimizers(self):
        return self._configure(SGD(self.parameters(), 0.1))


@pytest.mark.parametrize(
    ("configure", "texts"),
    [
        (lambda own: own, ["SGD 0.1"]),
        (lambda own: [own], ["SGD 0.1"]),
        (lambda own: ([own], [StepLR(own, 1)]), ["SGD 0.1"]),
        (lambda own: {"optimizer": own, "lr_scheduler": {"scheduler": StepLR(own, 1)}}, ["SGD 0.1"]),
        (lambda own: [{"optimizer": own}], ["SGD 0.1"]),
        (lambda own: (own, Adam(own.param_groups[0]["params"])), None),
        (lambda own: None, None),
        (lambda own: own.trainer, None),
    ],
)
def test_a_lightning_module_has_its_own_optimizer_if_it_is_one(configure, texts):
    found = [one.text for one in trial_optimizers(Configured(configure))]
    assert found == (texts or [one.text for one in trial_optimizers(nn.Linear(1, 1))])
