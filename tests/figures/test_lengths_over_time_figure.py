"""The figures of a run's lengths: what each cell shows, and that all texts can be read at any number of layers."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text

from start_training.figures.lengths_over_time import draw_lengths_over_time
from start_training.figures.mean_length import draw_mean_length
from start_training.lengths.growth_rate import growth_rate
from tests.figures import made

TITLE = "FullyConnected, depth 20 · he_normal · digits"
RISING = np.exp(np.linspace(0, 30, 101))


def draw(lengths: pd.DataFrame, rate=None, title: str = TITLE, **settings) -> Figure:
    return draw_lengths_over_time(lengths, growth_rate(lengths.to_numpy().T), rate, title=title, **settings)


def not_drawn(axis: Axis) -> list[Text]:
    """The labels of ticks outside the limits of the axis, which matplotlib keeps but does not draw."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [label for tick in ticks if not low <= tick.get_loc() <= high for label in (tick.label1, tick.label2)]


def unreadable(figure: Figure) -> list[str]:
    """The texts that are not inside the figure, or overlap another text."""
    figure.draw_without_rendering()
    outside = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in not_drawn(axis)}
    texts = [text for text in figure.findobj(Text) if id(text) not in outside]
    shown = [text for text in texts if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    inside = figure.bbox.padded(1)
    clipped = [text for text, box in boxes if not (inside.contains(*box.min) and inside.contains(*box.max))]
    return clipped + [f"{one}/{other}" for (one, a), (other, b) in combinations(boxes, 2) if a.padded(-1).overlaps(b)]


def hatched(figure: Figure, hatch: str) -> set[tuple[int, int]]:
    """The cells (layer, column) of a linear heat map that have this hatch."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch) and hatch in patch.get_hatch()]
    corners = [patch.get_path().vertices.reshape(-1, 5, 2) for patch in patches]
    return {
        (int(low + 0.5), column)
        for (left, low), (right, _) in (rectangle[:2] for rectangle in np.concatenate(corners))
        for column in range(int(left + 0.5), int(right + 0.5))
    }


@pytest.mark.parametrize("layers", [1, 3, 20, 100])
@pytest.mark.parametrize("steps", [1, 21, 20_000])
def test_texts_can_be_read_at_any_size(layers, steps):
    rate = np.linspace(1, 0, steps) if layers == 20 else None
    assert unreadable(draw(made.lengths(layers, steps), rate)) == []


def test_names_of_a_hundred_layers_would_overlap(monkeypatch):
    monkeypatch.setattr("start_training.figures.lengths_over_time.NAMED", 100)
    assert len(unreadable(draw(made.lengths(100, 3)))) > 50


@pytest.mark.parametrize("name", ["net.$hidden$.{}.act", "W" * 40 + "{}", "a_module.{}." + "very_long_name_of_one" * 9])
def test_long_names_and_titles_are_shortened(name):
    lengths = made.lengths(20, 5, name=name)
    lengths.iloc[3:, 1], lengths.iloc[:2, 0] = np.nan, 0
    for title in ("W" * 300, "Net_$x, depth 3 · " * 12):
        assert unreadable(draw(lengths, [1, 1, 0.1, 0.1, 0.01], title)) == []
        ends = draw_mean_length(lengths.iloc[:, 0], lengths.iloc[:, 1], last_step=1, title=title)
        assert unreadable(ends) == []


def test_the_picture_has_the_log_length_of_each_layer_and_step():
    lengths = made.lengths(3, 4)
    [mesh] = draw(lengths).axes[0].findobj(QuadMesh)
    np.testing.assert_allclose(mesh.get_array(), np.log(lengths))


def test_lengths_that_are_not_finite_or_zero_are_hatched_in_all_panels_and_named():
    lengths = made.lengths(5, 6)
    lengths.iloc[2:, 4], lengths.iloc[1, 5], lengths.iloc[3:, 0] = np.inf, np.nan, 0
    figure = draw(lengths)
    assert hatched(figure, "x") == {(2, 4), (3, 4), (4, 4), (1, 5)} and hatched(figure, ".") == {(3, 0), (4, 0)}
    assert made.texts(figure) == ["not finite", "length 0"] and len(figure.axes[1].patches) == 2
    known = lengths.notna()
    assert made.texts(draw(lengths, measured=known)) == ["not finite", "length 0", "not measured"]
    assert made.texts(draw(lengths * np.nan)) == ["not finite"]


def test_one_step_that_is_not_finite_is_seen_in_a_long_run():
    lengths = made.lengths(3, 20_000)
    lengths.iloc[1, 7777] = np.inf
    assert made.texts(draw(lengths)) == ["not finite"] and made.texts(draw(made.lengths(3, 20_000))) == []


def test_steps_before_a_divergence_keep_their_colours():
    lengths = made.lengths(20, 40)
    lengths.iloc[1:, 39] = 1e200
    [mesh] = draw(lengths).axes[0].findobj(QuadMesh)
    assert mesh.norm.vmax < 10
    first = made.lengths(20, 40)
    first.iloc[:, :2] *= 10  # a short beginning at other lengths is shown as it is
    [mesh] = draw(first).axes[0].findobj(QuadMesh)
    assert mesh.norm.vmax == np.log(first.to_numpy().max())


def test_the_ends_of_a_run_show_a_layer_that_is_not_finite_or_zero():
    figure = draw_mean_length([1, 2, 0, 0], [1, 2, np.inf, np.nan], last_step=3, title=TITLE)
    marks = {line.get_marker(): line.get_xdata().tolist() for line in figure.axes[0].lines if line.get_ls() == "None"}
    assert marks == {"x": [2, 3], "v": [2, 3]}
    assert made.texts(figure)[-2:] == ["not finite", "length 0"]


@pytest.mark.parametrize("depth", [1, 20, 100])
def test_texts_of_the_ends_of_a_run_can_be_read(depth):
    lengths = RISING[: depth + 1]
    assert unreadable(draw_mean_length(lengths, lengths[::-1], 1 / lengths, deviation=lengths, last_step=9)) == []


def test_a_constant_learning_rate_has_no_panel_and_many_changes_no_marks():
    lengths = made.lengths(3, 400)
    assert len(draw(lengths, np.full(400, 0.1)).axes) == 3  # with the colour bar
    for rate, marked in ((np.repeat([1, 0.1], 200), True), (np.arange(400) % 7, False)):
        figure = draw(lengths, rate)
        assert len(figure.axes) == 4 and (made.texts(figure) == ["learning rate\nchanges"]) is marked
