"""The figure of largest learning rates: medians, ranges, and open points of nets that did not learn."""

import numpy as np
import pytest

from start_training.figures.largest_rate import BAND, draw_largest_rate
from tests.figures.made import largest_rates, markers


def test_configurations_are_medians_over_seeds_and_open_if_they_did_not_learn():
    figure = draw_largest_rate(largest_rates(), by="initializer")
    rates, accuracies = figure.axes
    medians = [("o", 5, 0.5), ("o", 10, 0.2), ("o", 20, 0.05), ("s", 5, 0.4)]
    still_open = [("D", 5, 0.3), ("s", 10, 0.3), ("s", 20, BAND / 3)]  # one seed found none; below 20%; in the band
    for filled, expected in ((True, medians), (False, still_open)):
        assert [point[:2] for point in markers(rates, filled=filled)] == [point[:2] for point in expected]
        assert [point[2] for point in markers(rates, filled=filled)] == pytest.approx([point[2] for point in expected])
    assert [point[:2] for point in markers(accuracies, filled=False)] == [("D", 5), ("s", 10), ("s", 20)]
    bars = [bar[:, 1] for bar in rates.containers[0][2][-1].get_segments() if bar[0, 0] == 10]
    np.testing.assert_allclose(bars, [[0.1, 0.4]])  # from the smallest to the largest


def test_the_threshold_decides_which_points_are_open():
    of_one = largest_rates(mine={5: [(0.3, 0.2)], 10: [(0.3, 0.199)]})
    assert [x for _, x, _ in markers(draw_largest_rate(of_one).axes[0], filled=True)] == [5]
    assert [x for _, x, _ in markers(draw_largest_rate(of_one, threshold=0.1).axes[0], filled=True)] == [5, 10]
