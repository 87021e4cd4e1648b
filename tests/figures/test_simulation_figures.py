"""Figures of simulations: pure functions of tables, that draw the tables' numbers and what theory says of them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from src.figures.labels import LABELS
from src.figures.length_variance import draw_length_variance
from src.figures.mean_length_depth import draw_mean_length_against_depth
from src.figures.save import save_figure
from src.figures.simulation import MARKERS, draw_simulation
from tests.conftest import INITIALIZERS

DEPTHS = (2, 4, 8)


def layers(depth: int = 5, *, shift: float = 0.0, theory: bool = True, law: bool = True) -> pd.DataFrame:
    """A layer table of made-up numbers, none of them twice."""
    j = np.arange(depth + 1)
    table = pd.DataFrame({"layer": j, "name": [f"layer.{i}" for i in j], "dead": 0.0})
    measured = ["log_mean", "log_moment_ratio", "log_variance", "log_layer_variance"]
    measured += [f"{name}_error" for name in measured] + ["low", "median", "high"]
    for number, name in enumerate(measured):
        table[name] = shift + 0.01 * number + 0.1 * j
        if law:
            table[f"{name}_law"] = shift + 0.005 + 0.01 * number + 0.1 * j
    if theory:
        table["log_mean_theory"] = shift + 0.5 + 0.1 * j
        table["log_moment_ratio_high_theory"] = shift + 0.6 + 0.1 * j
        table["beta"] = j / 20
    return table


def sweep(by: str, options: tuple[str, ...], **columns: bool) -> pd.DataFrame:
    """A sweep's table over DEPTHS, deepest first, and the options."""
    tables = [
        layers(depth, shift=number, **columns).assign(depth=depth, nets=1000, **{by: option})
        for number, option in enumerate(options)
        for depth in reversed(DEPTHS)
    ]
    return pd.concat(tables, ignore_index=True)


def points(axes: Axes) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """x, y and error of each curve of points with error bars."""
    found = []
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        data, _, [bars] = container
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        found.append((data.get_xdata(), data.get_ydata(), (ends[:, 1] - ends[:, 0]) / 2))
    return found


def lines(axes: Axes, style: str) -> list[np.ndarray]:
    """y of each line in this style, but for those that only guide the eye."""
    return [line.get_ydata() for line in axes.lines if line.get_linestyle() == style and len(line.get_ydata()) > 2]


def texts(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def ends(table: pd.DataFrame, **at: object) -> pd.DataFrame:
    last = table[table["layer"] == table["depth"]].sort_values("depth")
    return last[np.logical_and.reduce([last[column] == value for column, value in at.items()])]


def assert_drawn_is(drawn: list, expected: list) -> None:
    """The same curves, whichever of them was drawn first."""
    assert len(drawn) == len(expected)
    one, other = (sorted(np.array(curve, dtype=float).tolist() for curve in curves) for curves in (drawn, expected))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b)


@pytest.mark.parametrize(("theory", "law"), [(True, True), (True, False), (False, False)])
def test_an_ensembles_figure_draws_its_table(theory, law):
    table = layers(theory=theory, law=law)
    figure = draw_simulation(table, nets=1234, title="seed=0")
    [axes] = figure.axes
    assert_drawn_is(points(axes), [[table["layer"], table["log_mean"], table["log_mean_error"]]])
    assert_drawn_is(lines(axes, "-"), [table["median"]])
    assert_drawn_is(lines(axes, "--"), [table["log_mean_theory"]] if theory else [])
    quantiles = [table[f"{name}_law"] for name in ("low", "median", "high")] if law else []
    assert_drawn_is(lines(axes, ":"), quantiles)
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((table["low"].min(), table["high"].max()))
    said = ["5–95% of 1,234 nets", "median", "mean ± s.e."]
    assert set(texts(figure)) == {*said, *(["exact law"] if law else []), *(["theory, mean"] if theory else [])}
    assert (axes.get_xlabel(), axes.get_title()) == ("layer $j$", "seed=0")


def test_an_ensembles_figure_of_a_deep_net_thins_its_points_and_says_how_many_nets_died():
    table = layers(200).assign(dead=lambda rows: rows["layer"] / 400)
    [axes] = draw_simulation(table, nets=10, title="deep").axes
    [(x, y, _)] = points(axes)
    assert (len(x), x[0], x[-1]) == (MARKERS, 0, 200)
    np.testing.assert_allclose(list(y), table["log_mean"][list(x)])
    assert axes.get_title() == "deep\n50.0% of nets dead in the last layer"


def test_a_net_that_is_dead_for_certain_leaves_gaps_and_no_warning(tmp_path):
    table = layers()
    table.loc[3:, ["log_mean", "log_mean_error", "low", "median", "high"]] = np.nan
    table.loc[3:, "dead"] = 1.0
    save_figure(draw_simulation(table, nets=10), tmp_path / "dead")


@pytest.mark.parametrize("theory", [True, False])
def test_mean_length_is_drawn_against_depth_for_each_option(theory):
    options = ("he_normal", "users_own")
    table = sweep("initializer", options, theory=theory)
    figure = draw_mean_length_against_depth(table, title="Figure 1a")
    [axes] = figure.axes
    expected = [ends(table, initializer=option) for option in options]
    assert_drawn_is(points(axes), [[rows["depth"], rows["log_mean"], rows["log_mean_error"]] for rows in expected])
    assert_drawn_is(lines(axes, "--"), [rows["log_mean_theory"] for rows in expected] if theory else [])
    assert_drawn_is(lines(axes, ":"), [])
    assert texts(figure)[:3] == ["He normal", "users_own", "mean of 1,000 nets, ± s.e."]
    assert "Figure 1a" in (figure.get_suptitle(), axes.get_title())
    assert axes.get_xlabel() == "depth $d$"


def test_residual_nets_are_drawn_with_the_sum_of_their_scales_in_a_panel_for_each_width():
    options = ("residual_constant", "residual_inverse_depth")
    tables = [
        sweep("family", options, law=True).assign(**{"model.width": width, "sum_of_scales": lambda rows: rows["layer"]})
        for width in ("5", "100")
    ]
    table = pd.concat(tables, ignore_index=True)
    table.loc[table["model.width"] == "100", ["log_mean", "log_mean_theory"]] += 0.25
    figure = draw_mean_length_against_depth(table, by="family", panel="model.width", compressed=True)
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert panels.keys() == {"width 5", "width 100"}
    for width in ("5", "100"):
        axes = panels[f"width {width}"]
        expected = [ends(table, family=option, **{"model.width": width}) for option in options]
        assert_drawn_is(points(axes), [[rows["depth"], rows["log_mean"], rows["log_mean_error"]] for rows in expected])
        assert_drawn_is(lines(axes, "--"), [rows["log_mean_theory"] for rows in expected])
        assert_drawn_is(lines(axes, "-"), [rows["log_mean_law"] for rows in expected])
        assert_drawn_is(lines(axes, ":"), [rows["sum_of_scales"] for rows in expected])
        assert axes.get_yscale() == "symlog"
    assert texts(figure)[:2] == [r"$\eta_l = 1$", r"$\eta_l = 1/L$"]


@pytest.mark.parametrize(("theory", "law"), [(True, True), (True, False), (False, False)])
def test_variances_are_drawn_over_nets_and_over_layers_against_depth_and_against_beta(theory, law):
    options = ("constant_20", "alternating")
    table = sweep("family", options, theory=theory, law=law)
    if not theory:
        table["beta"] = np.nan  # as of nets that have none
    figure = draw_length_variance(table, title="Failure mode 2")
    grid = np.array(figure.axes).reshape(2, 2)
    expected = [ends(table, family=option) for option in options]
    rows_of = (("log_moment_ratio", "log_moment_ratio_high_theory", theory),
               ("log_layer_variance", "log_layer_variance_law", law))  # fmt: skip
    for row, (quantity, line, known) in zip(grid, rows_of, strict=True):
        for axes, x in zip(row, ("depth", "beta"), strict=True):
            drawn = expected if x == "depth" or theory else []
            assert_drawn_is(points(axes), [[rows[x], rows[quantity], rows[f"{quantity}_error"]] for rows in drawn])
            assert_drawn_is(lines(axes, "--"), [rows[line] for rows in drawn] if known else [])
    assert [axes.get_xlabel() for axes in grid[1]] == ["depth $d$", r"$\beta=\sum_j 1/n_j$"]
    assert texts(figure) == ["constant 20", "alternating 30, 10"]


DRAWERS = {
    "simulation": lambda: (table := layers(), lambda: draw_simulation(table, nets=9)),
    "mean_length_depth": lambda: (
        table := sweep("initializer", ("he_normal",)),
        lambda: draw_mean_length_against_depth(table),
    ),
    "length_variance": lambda: (table := sweep("family", ("constant_20",)), lambda: draw_length_variance(table)),
}


@pytest.mark.parametrize("name", DRAWERS)
def test_a_figure_leaves_its_table_alone_and_is_the_same_bytes_each_time(name, tmp_path):
    table, draw = DRAWERS[name]()
    before = table.copy()
    files = [save_figure(draw(), tmp_path / time) for time in ("first", "second")]
    pd.testing.assert_frame_equal(table, before)
    assert [file.name for file in files[0]] == ["first.png", "first.pdf"]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_every_initializer_and_family_of_conf_has_a_label():
    options = [*INITIALIZERS, *(INITIALIZERS[0].parents[1] / "family").glob("*.yaml")]
    assert {path.stem for path in options} <= LABELS.keys()
