"""Splits of data sets are disjoint, complete, and of the stated size."""

import math
from fractions import Fraction

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from start_training.datamodules.split import cut_size, random_cut, stratified_cut


@given(st.integers(1, 3000), st.floats(0, 0.99))
@example(60_000, 0.1)
@example(100, 0.07)  # whose product is 7.000000000000001
@example(10, 0.001)
def test_a_split_has_all_samples_and_cuts_the_fraction_rounded_up(size, fraction):
    expected = math.ceil(Fraction(str(fraction)) * size)
    assert cut_size(size, fraction) == expected or expected - fraction * size > 1 - 1e-8
    for remaining, cut in random_cut(size, fraction), stratified_cut(torch.arange(size) % 3, fraction):
        assert len(cut) == cut_size(size, fraction)
        assert torch.cat([remaining, cut]).sort().values.equal(torch.arange(size))


def test_a_random_cut_is_uniform():
    _, cut = random_cut(10_000, 0.1)
    ranks = cut.double() / 10_000  # uniform: mean 1/2, variance 1/12
    assert abs(ranks.mean() - 0.5) < 4 / (12 * 1000) ** 0.5
    assert abs(torch.arange(1000).double().mean() / 10_000 - 0.5) > 4 / (12 * 1000) ** 0.5


def test_a_stratified_cut_has_the_same_fraction_of_each_class():
    targets = torch.repeat_interleave(torch.arange(4), torch.tensor([5, 50, 500, 33]))
    _, cut = stratified_cut(targets, 0.2)
    shares = torch.bincount(targets[cut]) - 0.2 * torch.bincount(targets)
    assert (shares.abs() <= 1).all()
