"""The figure of a search: what is drawn where, and what a diverged run does to it."""

import pandas as pd

from start_training.figures.trials import draw_trials
from tests.figures.made import options, trained

NO_TESTS = pd.DataFrame()


def test_a_mean_of_survivors_is_not_drawn():
    runs = pd.concat([trained("a", seeds=1, epochs=5), trained("a", seeds=1, epochs=2).assign(seed=1)])
    assert draw_trials(NO_TESTS, runs, options("a")).axes[0].lines[0].get_xdata().tolist() == [1, 2]
