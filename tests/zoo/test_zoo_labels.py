"""Labels come from training: how one is decided, that the stored ones agree with their curves, and can be repeated."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.zoo import training
from tests.zoo.labels import contested, read_labels, starts, write_labels
from tests.zoo.net import ZooNet
from tests.zoo.nets import NETS, drawn
from tests.zoo.tasks import CLASSES, FEATURES, VECTORS
from tests.zoo.training import MARGIN, RATES, label_of, train

LABELS = read_labels()
SEED = 5  # of the tenth that is trained again


@pytest.mark.parametrize("optimizer", sorted(RATES))
def test_a_net_starts_when_its_held_out_loss_falls_below_chance(optimizer):
    good = label_of(NETS["linear"], optimizer, 0)
    assert good.starts
    assert good.curve[-1][1] <= (1 - MARGIN) * good.chance < good.curve[0][1]
    for name, steps in (("mlp_nan", [0]), ("mlp_frozen", [0])):
        bad = label_of(NETS[name], optimizer, 0)
        assert not bad.starts
        assert [step for step, _ in bad.curve] == steps
        assert len(bad.lowest) == len(RATES[optimizer])


def test_a_net_that_cannot_generalize_does_not_start():
    """Targets that do not depend on the inputs could be memorized only if samples came back, and they do not."""
    task = replace(VECTORS, steps=100, sample=lambda count, generator: (
        torch.randn(count, FEATURES, generator=generator), torch.randint(CLASSES, (count,), generator=generator)
    ))  # fmt: skip
    net = ZooNet(name="random", family="", task=task, build=lambda: nn.Linear(FEATURES, CLASSES))
    assert not label_of(net, "adam", 0).starts


def test_a_low_loss_at_initialization_is_no_start():
    """The goal is below the loss at initialization too."""
    task = replace(VECTORS, steps=0)
    known = nn.Linear(FEATURES, CLASSES)
    known.load_state_dict(_taught())
    net = ZooNet(name="known", family="", task=task, build=lambda: known)
    assert not label_of(net, "adam", 0).starts
    assert label_of(net, "adam", 0).curve[0][1] < (1 - MARGIN) * label_of(net, "adam", 0).chance


@pytest.mark.parametrize(("share", "starts_later"), [(0.92, True), (0.92, False), (0.98, True)])
def test_a_net_that_has_learned_a_little_is_trained_longer_at_its_best_rate(monkeypatch, share, starts_later):
    net, chance = NETS["mlp_3"], label_of(NETS["mlp_frozen"], "adam", 0).chance
    trained = []

    def train_(net, optimizer, rate, seed, goal):
        trained.append((rate, net.task.steps))
        longer = net.task.steps > VECTORS.steps
        return [(0, 2 * chance), (9, (0.5 if longer and starts_later else share + 0.01 * (rate != 0.01)) * chance)]

    monkeypatch.setattr(training, "train", train_)
    label = label_of(net, "adam", 0)
    longer = [(0.01, 1200)] if share < 0.97 else []
    assert trained == [(0.001, 300), (0.01, 300), (0.0001, 300), *longer]
    assert label.rate == 0.01
    assert label.starts == (starts_later and bool(longer))


def _taught() -> dict[str, torch.Tensor]:
    net = nn.Linear(FEATURES, CLASSES)
    train(ZooNet(name="pupil", family="", task=VECTORS, build=lambda: net), "adam", 0.01, 0, 0.0)
    return net.state_dict()


def test_a_training_depends_on_its_seed_alone():
    net = replace(NETS["vae"], task=replace(NETS["vae"].task, steps=20))  # a net that draws numbers as it trains
    first = train(net, "adam", 1e-2, 0, 0.0)
    torch.randn(3)
    assert train(net, "adam", 1e-2, 0, 0.0) == first
    assert train(net, "adam", 1e-2, 1, 0.0) != first


def test_labels_are_read_as_they_were_written(tmp_path):
    labels = {("b", "sgd", 0): {"starts": True}, ("a", "sgd", 0): {"starts": False}, ("b", "sgd", 1): {"starts": True}}
    write_labels(labels, tmp_path / "labels.json")
    assert read_labels(tmp_path / "labels.json") == labels
    assert list(read_labels(tmp_path / "labels.json")) == sorted(labels)
    assert read_labels(tmp_path / "none.json") == {}
    assert [starts("b", "sgd", labels), starts("a", "sgd", labels), starts("a", "adam", labels)] == [True, False, None]
    assert contested(labels) == []
    assert contested({**labels, ("b", "sgd", 2): {"starts": False}}) == ["b sgd"]


def test_the_stored_labels_agree_with_their_curves():
    for (name, optimizer, seed), row in LABELS.items():
        case = f"{name} {optimizer} {seed}"
        assert name in NETS, case
        losses = [loss for _, loss in row["curve"] if loss is not None]
        goal = (1 - MARGIN) * min([row["chance"], *losses[:1]])
        below = [min(losses, default=math.inf) <= goal * (1 + rounding) for rounding in (-1e-3, 1e-3)]
        assert row["starts"] in below, case  # losses are rounded: either answer is right within 1e-3
        assert str(row["rate"]) in map(str, RATES[optimizer]), case


def test_every_net_has_a_label_for_each_optimizer():
    assert not {(name, optimizer) for name in NETS for optimizer in RATES if (name, optimizer, 0) not in LABELS}


@pytest.mark.slow
@pytest.mark.parametrize("net", drawn(NETS.values(), 0.1, SEED), ids=lambda net: net.name)
def test_a_tenth_of_the_stored_labels_comes_from_training_again(net):
    for optimizer in RATES:
        again, stored = label_of(net, optimizer, 0), LABELS[net.name, optimizer, 0]
        assert again.starts == stored["starts"], optimizer
        first, before = again.curve[0][1], stored["curve"][0][1]  # None: not finite
        assert first == (before and pytest.approx(before, rel=0.01)), optimizer  # the same net
