"""The cuts: disjoint, complete, and of the stated size."""

import pytest
import torch

from src.datamodules.split import cut_size, random_cut, stratified_cut

SIZES = [(1437, 0.1, 144), (60_000, 0.1, 6000), (100, 0.07, 7), (10, 0, 0), (10, 0.001, 1)]


@pytest.mark.parametrize("size, fraction, expected", SIZES)
def test_a_cut_has_its_fraction_rounded_up(size, fraction, expected):
    assert cut_size(size, fraction) == expected


@pytest.mark.parametrize("size, fraction, expected", SIZES)
def test_every_sample_is_kept_or_cut(size, fraction, expected):
    targets = torch.arange(size) % 3
    for kept, cut in random_cut(size, fraction), stratified_cut(targets, fraction):
        assert len(cut) == expected
        assert torch.cat([kept, cut]).sort().values.equal(torch.arange(size))


def test_a_random_cut_is_spread_evenly():
    _, cut = random_cut(10_000, 0.1)
    ranks = cut.double() / 10_000  # uniform: mean 1/2, variance 1/12
    assert abs(ranks.mean() - 0.5) < 4 / (12 * 1000) ** 0.5
    assert abs(torch.arange(1000).double().mean() / 10_000 - 0.5) > 4 / (12 * 1000) ** 0.5


def test_a_stratified_cut_takes_each_class_by_its_share():
    targets = torch.repeat_interleave(torch.arange(4), torch.tensor([5, 50, 500, 33]))
    _, cut = stratified_cut(targets, 0.2)
    shares = torch.bincount(targets[cut]) - 0.2 * torch.bincount(targets)
    assert (shares.abs() <= 1).all()
