"""Random inputs are uniform on the sphere and depend only on `data_seed`."""

import numpy as np
import torch

from start_training.datamodules.random_inputs import RandomInputs
from tests.replicas.datamodules import Drawn


def test_inputs_are_uniform_on_the_sphere_and_labels_uniform_over_classes():
    inputs, targets = RandomInputs(50, classes=4, samples=4000, validation=0).samples("training")
    lengths = inputs.double().square().mean(dim=1)
    assert (lengths - 1).abs().max() < 1e-6
    # each coordinate has mean 0 and variance 1: 50 means, the largest within 4.5 standard errors
    assert inputs.mean(dim=0).abs().max() < 4.5 / 4000**0.5
    deviations = torch.bincount(targets, minlength=4) - 1000
    assert deviations.abs().max() < 4 * (4000 * 3 / 16) ** 0.5


def test_the_data_depend_on_data_seed_and_not_on_seed():
    first, reordered, other = (RandomInputs(20, **seeds) for seeds in ({}, {"seed": 1}, {"data_seed": 1}))
    for part in "training", "test":
        assert torch.equal(first.samples(part).inputs, reordered.samples(part).inputs)
        assert not torch.equal(first.samples(part).inputs, other.samples(part).inputs)
    assert first.input_shape == (20,)
    assert torch.cdist(first.samples("training").inputs, first.samples("test").inputs).min() > 1e-4


def test_new_inputs_depend_on_the_generator_alone_and_those_of_a_subclass_are_of_its_own_data():
    one, other = (RandomInputs(20, data_seed=seed).draw_inputs(500, np.random.default_rng(7)) for seed in (0, 1))
    assert torch.equal(one, other)
    assert (one.square().mean(1) - 1).abs().max() < 1e-6
    assert len(one.unique(dim=0)) == 500
    data = Drawn(20)  # overrides `load`
    drawn, training = data.draw_inputs(500, np.random.default_rng(7)), data.samples("training").inputs
    assert {*map(tuple, drawn.tolist())} < {*map(tuple, training.tolist())}
    assert 300 < len(drawn.unique(dim=0)) < 450  # of 900, with replacement
