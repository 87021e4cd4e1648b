"""Tests of both verdicts and of each finding, with a sick net beside the same net that is well."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from start_training import diagnose
from start_training.initializers.initialize import initialize_

HE = partial(nn.init.kaiming_normal_, nonlinearity="relu")
quick = partial(diagnose, nets=3, trial=False)


def dense(depth, width=32, activation=nn.ReLU, out=4):
    """A fully connected net with He's weights and zero biases, fed with 16 features."""
    widths = [16, *[width] * depth]
    layers = [module for pair in pairwise(widths) for module in (nn.Linear(*pair), activation())]
    return he(nn.Sequential(*layers, nn.Linear(width, out)))


def he(net):
    initialize_(net, HE, generator=torch.Generator().manual_seed(0))
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    return net


def changed(net, pattern, change):
    with torch.no_grad():
        change(net.get_parameter(pattern))
    return net


def constant(net):
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            nn.init.constant_(parameter, 1 / parameter.shape[1])
    return net


@pytest.fixture
def task(generator):
    """64 samples of a linear teacher with four classes."""
    inputs = torch.randn(64, 16, generator=generator)
    return inputs, (inputs @ torch.randn(16, 4, generator=generator)).argmax(-1)


class Sum(nn.Module):
    """Towers side by side, whose outputs are added."""

    def __init__(self, *towers):
        super().__init__()
        self.towers = nn.ModuleList(towers)

    def forward(self, inputs):
        return sum(tower(inputs) for tower in self.towers)


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.front, self.back = dense(2, out=16), dense(1)

    def forward(self, inputs):
        return self.back(self.front(inputs).detach())


class Recurrent(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.readout = cell, nn.Linear(8, 4)

    def forward(self, inputs):
        return self.readout(self.cell(inputs.unflatten(1, (16, 1)).repeat(1, 8, 1))[0][:, -1])


class Attending(nn.Module):
    """Attention over 4 tokens, with queries scaled."""

    def __init__(self, scale, skip):
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(8))
        self.mix, self.readout, self.skip = nn.Linear(4, 16), nn.Linear(16, 4), skip
        for layer in self.layers:
            layer.in_proj_weight.data[:32].mul_(scale)

    def forward(self, inputs):
        tokens = self.mix(inputs.unflatten(1, (4, 4)))
        for layer in self.layers:
            tokens = self.skip * tokens + layer(tokens, tokens, tokens)[0]
        return self.readout(tokens.mean(1))


def default(depth):
    """PyTorch's own initialization."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [module for i in range(depth) for module in (nn.Linear(32 if i else 16, 32), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(32, 4))


def recurrent(kind, change):
    net = Recurrent(kind(1, 8, batch_first=True))
    change(net.cell.weight_hh_l0.data)
    return net


def multiplied(factor):
    return lambda weight: weight.mul_(factor)


CASES = {  # defect: a net with it, the same without it
    "dead": lambda: (changed(dense(4), "4.bias", lambda bias: bias.fill_(-50)), dense(4)),
    "jump": lambda: (changed(dense(8), "8.weight", multiplied(1e-4)), dense(8)),
    "detached": lambda: (Detached(), Sum(dense(2), dense(2))),
    "symmetric": lambda: (constant(dense(3)), dense(3)),
    "readout": lambda: (changed(dense(3), "6.weight", multiplied(1e3)), dense(3)),
    "not_finite": lambda: (changed(dense(3), "2.weight", lambda weight: weight[0].fill_(float("nan"))), dense(3)),
    "double_softmax": lambda: (nn.Sequential(dense(2), nn.Softmax(-1)), dense(2)),
    "dropout": lambda: tuple(nn.Sequential(dense(2, out=16), nn.Dropout(share), dense(1)) for share in (0.99, 0.5)),
    "lost_in_time": lambda: (recurrent(nn.RNN, multiplied(0.2)), recurrent(nn.RNN, nn.init.orthogonal_)),
    "explodes_in_time": lambda: (recurrent(nn.GRU, multiplied(30)), recurrent(nn.GRU, multiplied(1))),
    "saturated_attention": lambda: (Attending(60, 1), Attending(1, 1)),
    "rank_collapse": lambda: (Attending(1, 0), Attending(1, 1)),
    "no_gradient": lambda: (dense(2).requires_grad_(False), dense(2)),
}


@pytest.mark.parametrize("defect", CASES)
def test_a_defect_is_found_by_name_and_not_where_there_is_none(defect, task):
    sick, well = (quick(net, task) for net in CASES[defect]())
    assert sick.verdict == "UNHEALTHY" and defect in [finding.defect for finding in sick.defects]
    assert sick.finding(defect).text and sick.finding(defect).todo
    assert defect not in [finding.defect for finding in well.defects]


def test_two_sick_towers_are_as_sick_as_one_in_either_order(task):
    """The towers run one after another, and never feed each other."""
    for towers in ((default(20),), (default(20), default(20))):
        diagnosis = quick(Sum(*towers), task)
        assert diagnosis.measured.drift < -28 and {one.answer for one in diagnosis.starts.values()} == {"no"}
    for towers in ((default(20), dense(4)), (dense(4), default(20))):
        diagnosis = quick(Sum(*towers), task)
        assert [finding.defect for finding in diagnosis.defects] == ["dead"]
        assert diagnosis.starts["sgd"].answer == "yes"  # through the good one


def test_a_net_starts_with_the_optimizer_with_which_its_copies_learn(task):
    well, sick = diagnose(dense(4), task, nets=2), diagnose(default(9), task, nets=2)
    assert well.healthy and well.exit_status == 0
    assert {trial.family for trial in well.trials if trial.starts} == {"sgd", "adam"}
    assert (sick.starts["sgd"].answer, sick.starts["adam"].answer) == ("no", "yes")
    assert sick.healthy and "does not start with SGD" in str(sick)
    assert diagnose(default(9), task, nets=2, optimizer="sgd").exit_status == 3


def test_a_verdict_does_not_flip_with_the_number_of_nets_or_the_seed(task):
    for net, allowed in ((dense(12, 16), {"HEALTHY", "UNCERTAIN"}), (default(30), {"UNHEALTHY", "UNCERTAIN"})):
        verdicts = {quick(net, task, nets=nets, seed=seed).verdict for nets in (2, 4, 10) for seed in range(2)}
        assert verdicts <= allowed


def test_few_layers_of_a_large_net_are_not_judged(task):
    diagnosis = quick(dense(30), task, layers=["1"])
    assert (diagnosis.verdict, diagnosis.exit_status) == ("NOT JUDGED", 4)
    assert "cover too little of the net" in str(diagnosis) and not diagnosis.healthy
    assert quick(dense(30), task, layers=["59"]).verdict == "HEALTHY"  # it depends on all of them


def test_an_initializer_that_draws_nothing_gives_no_verdict_in_its_name(task):
    net = nn.Sequential(nn.LayerNorm(16), nn.Embedding(3, 2), nn.ReLU())[::2]
    with pytest.warns(UserWarning, match="no weight is drawn"):
        diagnosis = quick(nn.Sequential(net, nn.Linear(16, 4).requires_grad_(False)), task, initializer=HE)
    assert (diagnosis.verdict, diagnosis.exit_status) == ("NOT JUDGED", 4)
    assert "the initializer has drawn none of the weights" in str(diagnosis)


def test_the_report_fits_one_screen_and_begins_with_the_verdict(task):
    for net in (dense(12), default(20)):
        lines = str(diagnose(net, task, nets=2)).splitlines()
        assert lines[0].startswith(("HEALTHY", "UNHEALTHY"))
        assert len(lines) < 45 and max(map(len, lines)) <= 110


def test_frame_figure_and_plain_data_have_all_layers(task, tmp_path):
    diagnosis = quick(Sum(dense(3), dense(2)), task)
    frame = diagnosis.to_frame()
    assert list(frame["name"]) == ["input", *(f"towers.0.{i}" for i in (1, 3, 5)), *(f"towers.1.{i}" for i in (1, 3))]
    assert list(frame["path"]) == [0, 0, 0, 0, 1, 1]
    assert (frame["length"] > 0).all() and frame["samples"].between(0, 2).all()
    for name in ("signal.png", "signal.pdf"):
        diagnosis.plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    plain = diagnosis.to_dict()
    assert plain["verdict"] == "HEALTHY" and len(plain["findings"]) == len(diagnosis.findings)
