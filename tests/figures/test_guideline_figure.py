"""The figure of the weight-decay guideline: what is drawn where."""

from src.figures.guideline import draw_guideline
from tests.figures.made import DECAYED, PREDICTED, WEIGHT_DECAYS, texts


def test_each_option_and_what_the_equation_says_of_it_have_one_colour():
    figure = draw_guideline(DECAYED, PREDICTED, WEIGHT_DECAYS)
    J2 = figure.axes[0]
    measured = [line for line in J2.lines if len(line.get_xdata()) == 5]
    predicted = [line for line in J2.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in predicted] == [[0.2, 1.2], [0.2, 0.9]]
    assert [line.get_color() for line in measured] == [line.get_color() for line in predicted]
    assert [line.get_ydata()[0] for line in J2.lines if len(line.get_xdata()) == 2][-1] == 1  # the edge
    assert texts(figure)[:2] == ["0 λ* (0)", "λ* (0.003)"]


def test_a_curve_ends_where_a_seed_diverged():
    shorter = DECAYED[(DECAYED["option"] != "λ*") | (DECAYED["seed"] == 0) | (DECAYED["epoch"] < 3)]
    J2 = draw_guideline(shorter, PREDICTED, WEIGHT_DECAYS).axes[0]
    assert [len(line.get_xdata()) for line in J2.lines][:2] == [5, 3]
