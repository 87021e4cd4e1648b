"""Data of regressions: targets have mean 0 and variance 1 on the training set, and nets learn them."""

import pytest
import torch

from start_training.datamodules.diabetes import Diabetes
from start_training.datamodules.friedman import Friedman


@pytest.mark.parametrize("data", [Diabetes(), Friedman()], ids=["diabetes", "friedman"])
def test_inputs_and_targets_are_standardized_on_the_training_set(data):
    inputs, targets = data.samples("training")
    assert targets.shape == (len(inputs), 1) and targets.dtype == torch.float32
    for values in (inputs, targets):
        assert values.mean(0).abs().max() < 1e-5 and (values.std(0, correction=0) - 1).abs().max() < 1e-5
    test = data.samples("test").targets
    assert 0.01 < test.mean().abs() < 0.3 and 0.8 < test.std() < 1.2  # of the same distribution, scaled with the others
    sizes = [data.samples(part).size for part in ("training", "validation", "test")]
    assert sizes in ([317, 36, 89], [900, 100, 1000])


def test_the_function_of_friedman_explains_all_but_the_noise():
    data = Friedman(samples=4000, validation=0, scaling="unit", noise=0.0)
    inputs, targets = data.samples("training")
    x = inputs.double()
    y = 10 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    assert torch.corrcoef(torch.stack([y, targets[:, 0].double()]))[0, 1] > 1 - 1e-9
    assert 4.5 < float(y.std()) < 5.3  # which the comment of conf/datamodule/friedman.yaml states
