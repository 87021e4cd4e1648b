"""The largest rate against depth, drawn: medians, ranges, and what has learned nothing is open."""

import pytest

from src.figures.largest_rate import BAND, draw_largest_rate
from tests.figures.made import largest_rates, markers, texts


def test_each_configuration_is_a_median_over_seeds_and_what_learned_nothing_is_open():
    figure = draw_largest_rate(largest_rates(), by="initializer")
    rates, accuracies = figure.axes
    medians = [("o", 5, 0.5), ("o", 10, 0.2), ("o", 20, 0.05), ("s", 5, 0.4)]
    still_open = [("D", 5, 0.3), ("s", 10, 0.3), ("s", 20, BAND / 3)]  # one seed found none; below 20%; in the band
    for filled, expected in ((True, medians), (False, still_open)):
        assert [each[:2] for each in markers(rates, filled=filled)] == [each[:2] for each in expected]
        assert [each[2] for each in markers(rates, filled=filled)] == pytest.approx([each[2] for each in expected])
    assert [each[:2] for each in markers(accuracies, filled=False)] == [("D", 5), ("s", 10), ("s", 20)]
    assert [text.get_text() for text in rates.texts] == ["no usable rate in the ramp"]
    legend = ["He normal", "LeCun normal", "mine", "median of 3 seeds, range"]
    assert texts(figure) == [*legend, "below 20% accuracy,\nor a seed without a rate"]


def test_what_is_open_is_a_matter_of_the_threshold():
    of_one = largest_rates(mine={5: [(0.3, 0.2)], 10: [(0.3, 0.199)]})
    assert [x for _, x, _ in markers(draw_largest_rate(of_one).axes[0], filled=True)] == [5]
    assert [x for _, x, _ in markers(draw_largest_rate(of_one, threshold=0.1).axes[0], filled=True)] == [5, 10]


def test_bars_reach_from_the_smallest_to_the_largest():
    axes = draw_largest_rate(largest_rates(mine={5: [(0.2, 0.8), (0.1, 0.9), (0.4, 0.7)]})).axes[0]
    [bars] = [container[2][-1] for container in axes.containers]
    assert bars.get_segments()[0][:, 1] == pytest.approx([0.1, 0.4])
