"""The figure of the weight-decay guideline: what is drawn where."""

from start_training.figures.guideline import draw_guideline
from tests.figures.made import DECAYED, PREDICTED, WEIGHT_DECAYS


def test_a_curve_ends_where_a_seed_diverged():
    shorter = DECAYED[(DECAYED["option"] != "λ*") | (DECAYED["seed"] == 0) | (DECAYED["epoch"] < 3)]
    J2 = draw_guideline(shorter, PREDICTED, WEIGHT_DECAYS).axes[0]
    assert [len(line.get_xdata()) for line in J2.lines][:2] == [5, 3]
