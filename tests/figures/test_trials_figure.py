"""The figure of a search: what is drawn where, and what a diverged run does to it."""

import numpy as np
import pandas as pd
import pytest

from src.figures.trials import draw_trials
from tests.figures.made import options, searched, texts, trained

NO_TESTS = pd.DataFrame()


def test_it_shows_each_range_test_and_where_the_largest_rates_lie():
    figure = draw_trials(searched("0.1", "0.2"), trained("0.2"), options("0.1", "0.2"), what="weight decay")
    range_tests, loss, _ = figure.axes
    curves = [line for line in range_tests.lines if len(line.get_xdata()) == 9]
    assert [line.get_xdata()[0] for line in range_tests.lines if len(line.get_xdata()) == 2] == [0.1, 0.2]
    assert range_tests.get_xscale() == "log"
    # from half the rate at which loss has fallen by a tenth
    assert range_tests.get_xlim() == pytest.approx((10**-3 / 2, 1))
    assert {loss.lines[0].get_color()} == {curves[1].get_color()} != {curves[0].get_color()}
    assert texts(figure) == ["0.1", "0.2", "largest rate, median"]


def test_range_tests_of_other_options_than_the_runs_have_colours_of_their_own():
    tested = searched("decay 0", "decay 1")
    figure = draw_trials(tested, trained("the recipe"), options("decay 0", "decay 1", "the recipe"), budget=2)
    colors = [line.get_color() for line in figure.legends[0].get_lines()[:3]]
    assert colors[2] == "black"
    assert len({tuple(color) for color in colors}) == 3
    assert [line.get_xdata()[0] for line in figure.axes[1].lines if len(line.get_xdata()) == 2] == [2]


def test_what_diverges_ends_the_curve_and_leaves_the_axis_to_the_others():
    diverging = np.array([2.0, 1.5, 1.0, 0.5, 4.0, 1e9, np.inf, np.nan, np.nan])
    axes = draw_trials(searched("a", losses=diverging), trained("a"), options("a")).axes[0]
    low, high = axes.get_ylim()
    assert low < 0.55
    assert 2.0 < high < 3.0
    assert len(axes.lines[0].get_xdata()) == 6


def test_a_mean_of_survivors_is_not_drawn():
    runs = pd.concat([trained("a", seeds=1, epochs=5), trained("a", seeds=1, epochs=2).assign(seed=1)])
    assert draw_trials(NO_TESTS, runs, options("a")).axes[0].lines[0].get_xdata().tolist() == [1, 2]
