"""The figure of activations: one grey scale for all panels, overflowing activations, and mosaics of channels."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from start_training.figures.activations import BEYOND, SATURATED, draw_activations, mosaic

LAYERS = [1, 4]


@pytest.fixture
def panels():
    random = np.random.default_rng(0)
    image = 5 * random.standard_normal((3, 8, 6))
    activations = {option: [random.standard_normal((9, 8, 6)) for _ in LAYERS] for option in ("he_normal", "mine")}
    return image, activations, {"he_normal": [0.0, -0.5, 40.0], "mine": [0.0, -math.inf, -800.0]}


def drawn(axes):
    [image] = axes.images
    return np.ma.filled(image.get_array(), np.nan)


def test_each_panel_is_a_mosaic_on_the_scale_of_the_input(panels):
    image, activations, log_lengths = panels
    grid = np.reshape(draw_activations(image, activations, log_lengths, LAYERS).axes[:-1], (2, 3))
    scale = np.sqrt((image**2).mean())
    for row, of_row in zip(grid, activations.values(), strict=True):
        for axes, values in zip(row[1:], of_row, strict=True):
            np.testing.assert_allclose(drawn(axes), mosaic(np.abs(values)) / scale)
            assert axes.images[0].get_clim() == (0, SATURATED)
        picture = drawn(row[0])
        assert (picture.shape, picture.min(), picture.max()) == ((8, 6, 3), 0, 1)
        np.testing.assert_allclose(picture, (image.transpose(1, 2, 0) - image.min()) / np.ptp(image))


def test_exploding_and_overflowing_activations_have_the_colour_beyond_the_scale(panels):
    image, activations, log_lengths = panels
    activations["mine"][0][0, 0, 0] = math.inf
    activations["mine"][1][0] = 1e300
    log_lengths["mine"] = [0.0, math.inf, math.nan]
    below = draw_activations(image, activations, log_lengths, LAYERS).axes[4:6]
    for axes in below:
        [shown] = axes.images
        assert shown.cmap(shown.norm(drawn(axes)))[0, 0].tolist() == list(to_rgba(BEYOND))
    assert [axes.get_xlabel() for axes in below] == [r"$M_{1}=\infty$", r"$M_{4}=\mathrm{NaN}$"]


def test_a_mosaic_shows_the_first_channels_that_fill_a_square():
    for channels, side in ((1, 1), (3, 1), (15, 3), (16, 4)):
        activation = np.arange(channels * 6.0).reshape(channels, 2, 3)
        panel = mosaic(activation)
        assert panel.shape == (3 * side - 1, 4 * side - 1)
        np.testing.assert_array_equal(panel[-2:, -3:], activation[side**2 - 1])
        np.testing.assert_array_equal(panel[:2, -3:], activation[side - 1])
        assert np.isnan(panel).sum() == panel.size - 6 * side**2
