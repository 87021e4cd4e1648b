"""Statistics of the lengths of one forward pass, and pooled statistics of several."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from start_training.lengths.statistics import Statistics, layer_variance, pack_statistics, pool, unpack_statistics

LAYERS, SAMPLES = 5, 24


def spread(seed=0):
    """Draw lengths of layers 0 … 5 that differ by orders of magnitude, shape (layers, samples)."""
    logs = torch.randn(LAYERS + 1, SAMPLES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (logs + 3 * torch.arange(LAYERS + 1)[:, None]).exp()


@pytest.fixture
def lengths():
    return spread()


def read(lengths):
    return unpack_statistics(pack_statistics(list(lengths)).numpy())


def parts_of(lengths, sizes):
    return Statistics(*(np.stack(values) for values in zip(*map(read, lengths.split(sizes, dim=1)), strict=True)))


def assert_same(one, other):
    for name in (*Statistics._fields, "variance"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-11, err_msg=name)


def test_means_and_variances_agree_with_numpy_and_layer_variance_with_the_paper(lengths):
    values, layers = lengths.numpy(), lengths.numpy()[1:]  # without the input
    by_formula = (layers**2).mean(0) - layers.mean(0) ** 2
    work = torch.empty_like(lengths)
    for statistics in read(lengths), unpack_statistics(pack_statistics(lengths, work).numpy()):
        assert (statistics.counts == SAMPLES).all()
        np.testing.assert_allclose(statistics.mean, values.mean(1), rtol=1e-12)
        np.testing.assert_allclose(statistics.variance, values.var(1, ddof=1), rtol=1e-12)
        np.testing.assert_allclose(statistics.layer_variance, by_formula.mean(), rtol=1e-10)
        relative = (by_formula / layers.mean(0) ** 2).mean()
        np.testing.assert_allclose(statistics.relative_layer_variance, relative, rtol=1e-10)
    np.testing.assert_allclose(layer_variance(lengths[1:]).numpy(), by_formula, rtol=1e-10)
    of_mean = layer_variance(lengths[1:], lengths[1:].mean(0), work[1:])
    np.testing.assert_allclose(of_mean.numpy(), by_formula, rtol=1e-10)


def test_layer_variance_is_accurate_where_the_formula_of_the_paper_is_not():
    lengths = torch.tensor([1e9, 1e9 + 1, 1e9 + 2], dtype=torch.float64)
    assert layer_variance(lengths).item() == pytest.approx(2 / 3, rel=1e-12)


def test_the_variance_across_layers_is_0_for_one_layer_and_nan_without_layers(lengths):
    one, none = read(lengths[:2]), read(lengths[:1])
    assert one.layer_variance == one.relative_layer_variance == 0
    assert np.isnan([none.layer_variance, none.relative_layer_variance]).all()
    assert_same(pool(parts_of(lengths[:1], [5, 19])), none)


@given(st.sets(st.integers(1, SAMPLES - 1)), st.permutations(range(SAMPLES)), st.floats(0.1, 10))
def test_pooled_statistics_of_parts_are_those_of_all_samples(cuts, order, factor):
    sizes = np.diff([0, *sorted(cuts), SAMPLES]).tolist()
    whole = read(spread())
    assert_same(pool(parts_of(spread()[:, order], sizes)), whole)
    scaled = read(factor * spread())
    np.testing.assert_allclose(scaled.layer_variance, factor**2 * whole.layer_variance, rtol=1e-11)
    np.testing.assert_allclose(scaled.relative_layer_variance, whole.relative_layer_variance, rtol=1e-11)


def test_leading_axes_are_reduced_independently(lengths):
    statistics = parts_of(lengths, [6] * 4)  # two ranks with two passes each
    pooled = pool(Statistics(*(values.reshape(2, 2, *values.shape[1:]) for values in statistics)))
    for part, ranks in enumerate(([0, 2], [1, 3])):
        samples = torch.cat([lengths.split(6, dim=1)[rank] for rank in ranks], dim=1)
        assert_same(Statistics(*(values[part] for values in pooled)), read(samples))
    packed = pack_statistics(list(lengths))
    assert packed.shape == (3 * (LAYERS + 1) + 2,)
    nets = pack_statistics(torch.stack([lengths, 2 * lengths], 1))  # further axes follow the axis of statistics
    torch.testing.assert_close(nets, torch.stack([packed, pack_statistics(2 * lengths)], 1))
    for layers in (
        [lengths[0]],
        [lengths[0], lengths[1].repeat(3)],
    ):  # no layers, or unequal sample counts
        nets = pack_statistics([torch.stack([layer, 2 * layer]) for layer in layers])
        one_by_one = [pack_statistics([factor * layer for layer in layers]) for factor in (1, 2)]
        torch.testing.assert_close(nets, torch.stack(one_by_one, 1), equal_nan=True)


def test_the_variance_over_samples_needs_two_samples(lengths):
    assert np.isnan(read(lengths[:, :1]).variance).all()
    assert np.isfinite(read(lengths[:, :2]).variance).all()


def test_a_sample_of_length_0_in_every_layer_counts_with_relative_variance_0(lengths):
    dead = lengths.clone()
    dead[1:, 0] = 0
    alive = read(lengths[:, 1:]).relative_layer_variance
    assert read(dead).relative_layer_variance == pytest.approx(alive * (SAMPLES - 1) / SAMPLES, rel=1e-12)
    assert read(dead[:, :1]).relative_layer_variance == 0


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_sample_that_is_not_finite_makes_the_layer_variance_non_finite(lengths, value):
    lengths[2, 3] = value
    statistics = read(lengths)
    assert not np.isfinite([statistics.layer_variance, statistics.relative_layer_variance]).any()
    assert np.isfinite(np.delete(statistics.mean, 2)).all()
    pooled = pool(parts_of(lengths, [12, 12]))
    np.testing.assert_allclose(pooled.mean, statistics.mean, rtol=1e-14)  # sums in another order
    assert np.isnan(pooled.variance[2])


def test_layers_with_different_sample_counts_have_no_variance_across_layers(lengths):
    layers = [lengths[0], lengths[1].repeat(3), lengths[1]]
    statistics = unpack_statistics(pack_statistics(layers).numpy())
    np.testing.assert_array_equal(statistics.counts, [SAMPLES, 3 * SAMPLES, SAMPLES])
    np.testing.assert_allclose(statistics.mean, [layer.mean() for layer in layers], rtol=1e-12)
    np.testing.assert_allclose(statistics.variance, [layer.var() for layer in layers], rtol=1e-12)
    assert np.isnan([statistics.layer_variance, statistics.relative_layer_variance]).all()
