"""Ranges in Hydra's syntax and the distributions of Optuna that they stand for."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from start_training.config.overrides import loader_of
from start_training.launchers.optuna_sweep import parsed
from start_training.launchers.search_space import distributions_of, split_overrides, words_of


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("optimizer.lr=tag(log,interval(1e-4,1))", FloatDistribution(1e-4, 1.0, log=True)),
        ("optimizer.lr=interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("model.width=int(interval(1,64))", IntDistribution(1, 64)),
        ("model.width=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("model.depth=range(1,5)", IntDistribution(1, 4)),
        ("model.depth=range(1,8,3)", IntDistribution(1, 7, step=3)),
        ("optimizer.momentum=range(0,0.9,0.3)", FloatDistribution(0.0, 0.6, step=0.3)),
        ("initializer=he_normal,lecun_normal", CategoricalDistribution(["he_normal", "lecun_normal"])),
        ("model.widths=choice([3,4],[5])", CategoricalDistribution(["[3,4]", "[5]"])),
        ("optimizer=glob(adam*)", CategoricalDistribution(["adam", "adamw"])),
    ],
)
def test_a_sweep_is_searched_as_a_distribution(text, distribution):
    searched, fixed = split_overrides(parsed(["seed=3", text], loader_of()))
    assert fixed == ["seed=3"]
    assert distributions_of(searched) == {text.partition("=")[0]: distribution}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed=3", r"hydra.sweeper.params = \{\}: nothing to search; must have ranges"),
        ("optimizer.lr=tag(log,interval(0,1))", r"optimizer.lr = tag\(log,interval\(0,1\)\): cannot be searched"),
        ("optimizer.lr=interval(1,0)", "optimizer.lr = .*: cannot be searched"),
        ("optimizer.lr=tag(lin,interval(0,1))", "optimizer.lr = .*: the tag lin is not known; must be log"),
        ("seed=tag(log,choice(1,2))", "seed = .*: cannot be searched .a logarithmic scale needs interval"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        distributions_of(split_overrides(parsed([text], loader_of()))[0])


def test_sampled_values_are_overrides():
    assert words_of({"optimizer.lr": 1e-5, "model.depth": 2, "model": "lenet"}) == [
        *("optimizer.lr=1e-05", "model.depth=2", "model=lenet"),
    ]
