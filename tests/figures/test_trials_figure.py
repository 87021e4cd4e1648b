"""The figure of a search: means end where the first seed ends."""

import pandas as pd

from start_training.figures.trials import draw_trials
from tests.figures.made import options, trained

NO_TESTS = pd.DataFrame()


def test_means_are_drawn_only_at_epochs_that_all_seeds_have_reached():
    runs = pd.concat([trained("a", seeds=1, epochs=5), trained("a", seeds=1, epochs=2).assign(seed=1)])
    assert draw_trials(NO_TESTS, runs, options("a")).axes[0].lines[0].get_xdata().tolist() == [1, 2]
