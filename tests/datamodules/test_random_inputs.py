"""Random inputs are uniform on the sphere and depend only on `data_seed`."""

import torch

from start_training.datamodules.random_inputs import RandomInputs


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
