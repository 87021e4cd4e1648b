"""The figure of a search: what is drawn where, and what a diverged run does to it."""

import numpy as np
import pandas as pd

from start_training.figures.trials import draw_trials
from tests.figures.made import options, searched, trained

NO_TESTS = pd.DataFrame()


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
