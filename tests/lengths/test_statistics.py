"""Statistics of one reading, and of readings pooled."""

import numpy as np
import pytest
import torch

from src.lengths.statistics import Statistics, layer_variance, pool, reading, unpack

LAYERS, SAMPLES = 5, 24


@pytest.fixture
def lengths(generator):
    """Lengths of layers 0 … 5, (layers, samples), spread over magnitudes."""
    spread = torch.randn(LAYERS + 1, SAMPLES, generator=generator, dtype=torch.float64)
    return (spread + 3 * torch.arange(LAYERS + 1)[:, None]).exp()


def read(lengths):
    return unpack(reading(list(lengths)).numpy())


def parts_of(lengths, sizes):
    return Statistics(*(np.stack(values) for values in zip(*map(read, lengths.split(sizes, dim=1)), strict=True)))


def test_means_and_variances_over_samples_are_numpys(lengths):
    statistics = read(lengths)
    assert (statistics.counts == SAMPLES).all()
    np.testing.assert_allclose(statistics.mean, lengths.numpy().mean(1), rtol=1e-12)
    np.testing.assert_allclose(statistics.variance, lengths.numpy().var(1, ddof=1), rtol=1e-12)
    assert not np.allclose(statistics.variance, lengths.numpy().var(1), rtol=1e-3)


def test_layer_variance_is_the_papers(lengths):
    layers = lengths.numpy()[1:]  # the input is no layer
    by_formula = (layers**2).mean(0) - layers.mean(0) ** 2
    np.testing.assert_allclose(layer_variance(lengths[1:]).numpy(), by_formula, rtol=1e-10)
    statistics = read(lengths)
    np.testing.assert_allclose(statistics.layer_variance, by_formula.mean(), rtol=1e-10)
    np.testing.assert_allclose(
        statistics.relative_layer_variance, (by_formula / layers.mean(0) ** 2).mean(), rtol=1e-10
    )
    assert not np.isclose(statistics.layer_variance, layers.var(0, ddof=1).mean(), rtol=1e-2)


def test_layer_variance_keeps_digits_that_the_formula_as_written_loses():
    lengths = torch.tensor([1e9, 1e9 + 1, 1e9 + 2], dtype=torch.float64)
    assert layer_variance(lengths).item() == pytest.approx(2 / 3, rel=1e-12)


def test_one_layer_has_no_variance_across_layers(lengths):
    statistics = read(lengths[:2])
    assert statistics.layer_variance == statistics.relative_layer_variance == 0


def test_an_input_without_layers_has_none_to_compare(lengths):
    statistics = read(lengths[:1])
    assert np.isnan([statistics.layer_variance, statistics.relative_layer_variance]).all()
    np.testing.assert_allclose(statistics.mean, lengths[:1].numpy().mean(1), rtol=1e-12)


@pytest.mark.parametrize("sizes", [[12, 12], [1, 23], [5, 1, 10, 8], [1] * SAMPLES], ids=str)
def test_pooled_parts_are_the_whole(lengths, sizes):
    pooled, whole = pool(parts_of(lengths, sizes)), read(lengths)
    for name in (*Statistics._fields, "variance"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(whole, name), rtol=1e-11, err_msg=name)


def test_parts_weigh_by_their_samples(lengths):
    parts = parts_of(lengths, [1, 23])
    assert not np.allclose(pool(parts).mean, parts.mean.mean(0), rtol=1e-2)


def test_free_axes_pool_each_by_itself(lengths):
    statistics = parts_of(lengths, [6] * 4)  # two ranks that made two passes each
    pooled = pool(Statistics(*(values.reshape(2, 2, *values.shape[1:]) for values in statistics)))
    for part, ranks in enumerate(([0, 2], [1, 3])):
        samples = torch.cat([lengths.split(6, dim=1)[rank] for rank in ranks], dim=1)
        for name, values in zip(Statistics._fields, pooled, strict=True):
            np.testing.assert_allclose(values[part], getattr(read(samples), name), rtol=1e-11, err_msg=name)


def test_unpacking_keeps_leading_axes(lengths):
    packed = reading(list(lengths))
    assert packed.shape == (3 * (LAYERS + 1) + 2,)
    statistics = unpack(packed.expand(4, 2, -1).numpy())
    assert statistics.mean.shape == (4, 2, LAYERS + 1)
    assert statistics.layer_variance.shape == (4, 2)


def test_one_sample_has_no_variance(lengths):
    statistics = read(lengths[:, :1])
    assert np.isnan(statistics.variance).all()
    np.testing.assert_allclose(statistics.mean, lengths[:, 0].numpy())


def test_a_sample_dead_in_every_layer_counts_as_zero_and_hides_no_other(lengths):
    dead = lengths.clone()
    dead[1:, 0] = 0
    alive = read(lengths[:, 1:]).relative_layer_variance
    assert read(dead).relative_layer_variance == pytest.approx(alive * (SAMPLES - 1) / SAMPLES, rel=1e-12)
    assert read(dead[:, :1]).relative_layer_variance == 0


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_sample_that_is_not_finite_is_not_taken_for_a_dead_one(lengths, value):
    lengths[2, 3] = value
    statistics = read(lengths)
    assert not np.isfinite([statistics.layer_variance, statistics.relative_layer_variance]).any()
    assert np.isfinite(np.delete(statistics.mean, 2)).all()
    pooled = pool(parts_of(lengths, [12, 12]))
    np.testing.assert_allclose(pooled.mean, statistics.mean, rtol=1e-14)  # sums in another order
    assert np.isnan(pooled.variance[2])


def test_layers_of_different_sample_counts_have_moments_but_no_variance_across(lengths):
    layers = [lengths[0], lengths[1].repeat(3), lengths[2, :10]]
    statistics = unpack(reading(layers).numpy())
    np.testing.assert_array_equal(statistics.counts, [SAMPLES, 3 * SAMPLES, 10])
    np.testing.assert_allclose(statistics.mean, [layer.mean() for layer in layers], rtol=1e-12)
    np.testing.assert_allclose(statistics.variance, [layer.var() for layer in layers], rtol=1e-12)
    assert np.isnan([statistics.layer_variance, statistics.relative_layer_variance]).all()
    pooled = pool(Statistics(*(np.stack([values, values]) for values in statistics)))
    np.testing.assert_allclose(pooled.variance, [layer.repeat(2).var() for layer in layers], rtol=1e-12)
