"""The figure of the weight-decay guideline: what is drawn where."""

import numpy as np
import pandas as pd
import pytest

from src.figures.guideline import draw_guideline


def curves_of(option: str, J2: float, seeds: int = 2) -> pd.DataFrame:
    rows = [
        {
            "option": option, "seed": seed, "epoch": float(epoch), "J2": J2 * epoch + seed,
            "test/loss": np.nan if epoch == 0 else 1 / epoch, "test/accuracy": np.nan if epoch == 0 else 0.1 * epoch,
        }
        for seed in range(seeds)
        for epoch in range(5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


CURVES = pd.concat([curves_of("0 λ*", 0.3), curves_of("λ*", 0.1)], ignore_index=True)
PREDICTED = pd.DataFrame({"option": ["0 λ*"] * 2 + ["λ*"] * 2, "epoch": [0.0, 4.0] * 2, "J2": [0.2, 1.2, 0.2, 0.9]})
OPTIONS = pd.DataFrame({"option": ["0 λ*", "λ*"], "weight_decay": [0.0, 3e-3]})


def test_it_shows_each_option_and_what_the_equation_says():
    figure = draw_guideline(CURVES, PREDICTED, OPTIONS, title="a title")
    J2, loss, accuracy = figure.axes
    measured = [line for line in J2.lines if len(line.get_xdata()) == 5]
    predicted = [line for line in J2.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in measured] == [
        pytest.approx(0.3 * np.arange(5) + 0.5),
        pytest.approx(0.1 * np.arange(5) + 0.5),
    ]
    assert [line.get_ydata().tolist() for line in predicted] == [[0.2, 1.2], [0.2, 0.9]]
    assert [line.get_color() for line in measured] == [line.get_color() for line in predicted]
    assert [line.get_ydata()[0] for line in J2.lines if len(line.get_xdata()) == 2][-1] == 1  # the edge
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert accuracy.lines[0].get_ydata() == pytest.approx(0.1 * np.arange(1, 5))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["0 λ* (0)", "λ* (0.003)"]


def test_a_curve_ends_where_a_seed_diverged():
    shorter = CURVES[(CURVES["option"] != "λ*") | (CURVES["seed"] == 0) | (CURVES["epoch"] < 3)]
    J2 = draw_guideline(shorter, PREDICTED, OPTIONS).axes[0]
    assert [len(line.get_xdata()) for line in J2.lines][:2] == [5, 3]
