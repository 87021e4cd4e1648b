"""The figure of a search: what is drawn where, and what a diverged run does to it."""

import numpy as np
import pandas as pd
import pytest

from src.figures.trials import draw_trials

RATES = np.geomspace(1e-4, 1.0, 9)


def ramps_of(option: str, seeds: int = 2, losses: np.ndarray | None = None) -> pd.DataFrame:
    losses = np.linspace(2.0, 0.5, 9) if losses is None else losses
    rows = [
        {"option": option, "seed": seed, "step": step, "learning_rate": rate, "val_loss": loss + 0.1 * seed}
        for seed in range(seeds)
        for step, (rate, loss) in enumerate(zip(RATES, losses, strict=True))
    ]
    return pd.DataFrame(rows)


def runs_of(option: str, seeds: int = 2, epochs: int = 3) -> pd.DataFrame:
    rows = [
        {"option": option, "seed": seed, "epoch": epoch, "val/loss": 1.0 / (epoch + 1), "val/accuracy": 0.3 * epoch}
        for seed in range(seeds)
        for epoch in range(epochs)
    ]
    return pd.DataFrame(rows)


def options(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"option": names, "max_lr": np.linspace(0.1, 0.2, len(names))})


def test_it_shows_each_range_test_and_each_run_and_where_the_largest_rates_lie():
    tests = pd.concat([ramps_of("0.1"), ramps_of("0.2")])
    figure = draw_trials(tests, runs_of("0.2"), options("0.1", "0.2"), what="weight decay", title="a title")
    range_tests, loss, accuracy = figure.axes
    curves = [line for line in range_tests.lines if len(line.get_xdata()) == 9]
    assert len(curves) == 2
    assert curves[0].get_ydata() == pytest.approx(np.linspace(2.0, 0.5, 9) + 0.05)
    assert [line.get_xdata()[0] for line in range_tests.lines if len(line.get_xdata()) == 2] == [0.1, 0.2]
    assert range_tests.get_xscale() == "log"
    assert range_tests.get_xlim() == pytest.approx((RATES[2] / 2, RATES[-1]))  # from where the loss has begun to fall
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert accuracy.lines[0].get_ydata() == pytest.approx([0, 0.3, 0.6])
    assert {loss.lines[0].get_color()} == {curves[1].get_color()} != {curves[0].get_color()}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0.1", "0.2", "largest rate, median"]


def test_range_tests_of_other_options_than_the_runs_have_colours_of_their_own():
    tests = pd.concat([ramps_of("decay 0"), ramps_of("decay 1")])
    figure = draw_trials(tests, runs_of("the recipe"), options("decay 0", "decay 1", "the recipe"), budget=2)
    colors = [line.get_color() for line in figure.legends[0].get_lines()[:3]]
    assert colors[2] == "black"
    assert len({tuple(color) for color in colors}) == 3
    assert [line.get_xdata()[0] for line in figure.axes[1].lines if len(line.get_xdata()) == 2] == [2]


def test_what_diverges_ends_the_curve_and_leaves_the_axis_to_the_others():
    diverging = np.array([2.0, 1.5, 1.0, 0.5, 4.0, 1e9, np.inf, np.nan, np.nan])
    figure = draw_trials(ramps_of("a", losses=diverging), runs_of("a"), options("a"), what="momentum")
    low, high = figure.axes[0].get_ylim()
    assert low < 0.55
    assert 2.0 < high < 3.0
    assert len(figure.axes[0].lines[0].get_xdata()) == 6


def test_a_mean_of_survivors_is_not_drawn():
    runs = pd.concat([runs_of("a", seeds=1, epochs=5), runs_of("a", seeds=1, epochs=2).assign(seed=1)])
    figure = draw_trials(pd.DataFrame(), runs, options("a"), what="momentum")
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2]


def test_runs_that_were_timed_are_drawn_against_time():
    runs = runs_of("a").assign(seconds=lambda rows: 2.5 * (rows["epoch"] + 1))
    figure = draw_trials(pd.DataFrame(), runs, options("a"), what="batch size")
    assert figure.axes[0].lines[0].get_xdata().tolist() == [2.5, 5.0, 7.5]
    assert figure.axes[0].get_xlabel() == "training time, seconds"
