"""The figure of range tests: curves of seeds and their mean, the suggested rates, and the limits of the axes."""

import numpy as np
import pytest

from start_training.figures.labels import option_of
from start_training.figures.range_test import draw_range_test
from tests.figures.made import ramps, solid, texts


def marks(axes) -> list[float]:
    return [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "--"]


def test_curves_are_means_over_seeds_where_all_have_a_value_and_each_seed_is_drawn():
    curves, fewer = ramps(), 0
    for name, axes in zip(("train_loss", "val_loss", "val_accuracy"), draw_range_test(curves).axes, strict=False):
        for colour, decay in (("C0", 0), ("C1", 1)):
            rows = curves[(curves["optimizer.weight_decay"] == decay) & np.isfinite(curves[name])]
            [mean] = solid(axes, colour)
            means = rows.groupby("learning_rate")[name].agg(["mean", "size"])
            np.testing.assert_allclose(mean, means[means["size"] == 3]["mean"].reset_index().to_numpy())
            fewer += int((means["size"] < 3).sum())
            assert [len(curve) for curve in solid(axes, colour, thin=True)] == rows.groupby("directory").size().tolist()
    assert fewer  # some rates lack a seed, so that a mean over the others would be noticed


def test_the_gap_is_the_validation_loss_minus_the_training_loss_since_the_last_validation():
    curves = ramps(w0=0.5)
    curves["train_loss"] += np.where(curves["step"] % 4 == 2, 4.0, 0.0)  # one step of four
    [gap] = solid(draw_range_test(curves).axes[3], "C0")
    seed = curves[curves["directory"] == "w01"].set_index("step")
    rate, value = gap[3]
    assert rate == seed["learning_rate"][12]
    validation, train = (curves[curves["step"].between(first, 12)] for first in (12, 9))  # of three seeds
    assert value == pytest.approx(validation["val_loss"].mean() - train["train_loss"].mean())
    assert abs(value - (validation["val_loss"] - validation["train_loss"]).mean()) > 0.5


def test_median_and_range_of_suggested_rates_are_in_every_panel_and_in_the_legend():
    figure = draw_range_test(ramps())
    for axes in figure.axes:
        assert marks(axes) == pytest.approx([0.5, 0.1])
        spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
        low, high = 2**-0.5, 2**0.5
        assert [span.x0 for span in spans] == pytest.approx([0.5 * low, 0.1 * low])
        assert [span.x1 for span in spans] == pytest.approx([0.5 * high, 0.1 * high])
    assert texts(figure)[:2] == ["0\nmax_lr 0.5 (0.35–0.71)", "1\nmax_lr 0.1 (0.071–0.14)"]


def test_curves_are_named_by_the_given_column_or_by_the_settings_that_vary():
    curves = ramps()
    assert set(option_of(curves, "initializer")) == {"He normal"}
    assert set(option_of(curves, None)) == {"0", "1"}
    several = curves.assign(varied=curves["varied"] + " initializer=he_normal")
    assert option_of(several, None)[0] == "weight_decay 0, He normal"
    assert option_of(curves.assign(initializer=np.nan), "initializer")[0] == "default"
