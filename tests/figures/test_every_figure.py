"""Tests of every figure: it renders, labels its axes, shows the given numbers, and does not change its table."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from start_training.analysis.phase_curves import run_counts
from start_training.analysis.phase_slopes import phase_slopes
from start_training.figures.activations import draw_activations
from start_training.figures.collapse import draw_collapse
from start_training.figures.labels import LABELS, seeds_text
from start_training.figures.largest_rate import draw_largest_rate
from start_training.figures.length_variance import draw_length_variance
from start_training.figures.lengths_over_time import draw_lengths_over_time
from start_training.figures.mean_length import draw_mean_length, draw_simulation
from start_training.figures.mean_length_depth import draw_mean_length_against_depth
from start_training.figures.phase_diagram import draw_finite_size, draw_phase_diagram
from start_training.figures.phase_slope import draw_phase_slope
from start_training.figures.phase_trajectory import draw_phase_trajectory
from start_training.figures.range_test import draw_range_test
from start_training.figures.save import save_figure
from start_training.figures.scaling import draw_scaling
from start_training.figures.start_of_training import draw_start_of_training
from start_training.figures.super_convergence import draw_super_convergence
from start_training.figures.trials import draw_guideline, draw_trials
from start_training.figures.two_papers import draw_two_papers
from start_training.figures.weight_decay import draw_weight_decay
from start_training.order_chaos.bins import Bins
from start_training.studies.phase_diagram import phase_diagram_tables as diagrams
from tests.analysis.test_phase_slopes import table
from tests.conftest import INITIALIZERS
from tests.figures import made

ETAS = table({"eta": 0.05}, {"eta": 0.1}, seeds=2, noise=0.002).assign(vary="eta")
FOUR = table(*({"eta": eta, "vary": "eta"} for eta in (0.02, 0.04, 0.08)), seeds=2, epochs=20)
DECAYS = table(*({"decay": decay} for decay in (0.0, 1e-3, 1e-2)), epochs=20, seeds=2)
COLUMNS, ROWS = Bins(-1.0, 2.0, 6), Bins(0.0, 2.0, 4)
DISTANCES, GROWTHS = np.arange(24.0) + np.array([[0.0], [1.0]]), np.linspace(0.2, -0.7, 6) + np.array([[0.0], [0.1]])
DIAGRAM = {
    "diagram_tanh": diagrams.tanh_diagram(COLUMNS, ROWS, DISTANCES),
    "boundary": diagrams.tanh_boundary(COLUMNS, ROWS, DISTANCES),
    "diagram_relu": diagrams.relu_diagram(COLUMNS, ROWS, GROWTHS, GROWTHS),
}
SIZES = {N: np.tile(np.where(ROWS.centres < edge, 0.5, 0.0), (2, 1)) for N, edge in ((50, 0.7), (200, 1.2))}
KINDS = ("constant_20", "alternating")
LAYERS, RAMPS, STARTS, ERRORS = made.layers(), made.ramps(), made.starts(), made.errors()
BY_FAMILY, GROWTH = made.ensembles("family", *KINDS), made.growths(noise=0.3)
RANDOM = np.random.default_rng(0).standard_normal((12, 8, 6))

FIGURES: dict[str, tuple[Callable[..., Figure], list[Any], dict[str, Any]]] = {
    "activations": (draw_activations, [RANDOM[:3], {"mine": [RANDOM[3:]]}, {"mine": [0.0, -0.5]}, [1]], {}),
    "collapse": (draw_collapse, [ETAS], {}),
    "finite_size": (
        draw_finite_size,
        [diagrams.finite_size_table(ROWS, SIZES), diagrams.finite_size_transitions(ROWS, SIZES)],
        {"title": None},
    ),
    "guideline": (draw_guideline, [made.DECAYED, made.PREDICTED, made.WEIGHT_DECAYS], {}),
    "largest_rate": (draw_largest_rate, [made.largest_rates()], {"by": "initializer"}),
    "length_variance": (draw_length_variance, [BY_FAMILY], {}),
    "lengths_over_time": (draw_lengths_over_time, [made.lengths(), [0.1, 0.2, 0.3, 0.4], [1, 1, 0.1, 0.1]], {}),
    "mean_length": (draw_mean_length, [[1, 2, 0.5], [1, 3, 4], [0, 0.1, 0.2]], {"last_step": 7, "deviation": [1] * 3}),
    "mean_length_depth": (draw_mean_length_against_depth, [BY_FAMILY], {"by": "family"}),
    "phase_diagram": (draw_phase_diagram, [DIAGRAM], {"N": 100, "matrices": 2, "title": None}),
    "phase_slope": (draw_phase_slope, [ETAS], {"by": "eta"}),
    "phase_trajectory": (draw_phase_trajectory, [ETAS], {"by": "eta"}),
    "range_test": (draw_range_test, [RAMPS], {}),
    "scaling": (draw_scaling, [FOUR], {}),
    "simulation": (draw_simulation, [LAYERS], {"nets": 1234}),
    "start_of_training": (draw_start_of_training, [STARTS], {"by": "initializer"}),
    "super_convergence": (draw_super_convergence, [ERRORS], {}),
    "trials": (draw_trials, [made.searched("0.1"), made.trained("0.1"), made.options("0.1")], {"what": "weight decay"}),
    "two_papers": (draw_two_papers, [GROWTH], {}),
    "weight_decay": (draw_weight_decay, [DECAYS], {}),
}  # fmt: skip


def draw(name: str, **changed: Any) -> Figure:
    function, tables, settings = FIGURES[name]
    settings = {"title": "A title", **settings, **changed}
    return function(*tables, **{key: value for key, value in settings.items() if value is not None})


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request) -> tuple[str, Figure]:
    """Draw every figure once, and check that it does not change its tables."""
    _, tables, _ = FIGURES[request.param]
    flat = [part for table in tables for part in (table.values() if isinstance(table, dict) else [table])]
    before = [part.copy() for part in flat if isinstance(part, pd.DataFrame)]
    figure = draw(request.param)
    for one, other in zip(before, [part for part in flat if isinstance(part, pd.DataFrame)], strict=True):
        pd.testing.assert_frame_equal(one, other)
    return request.param, figure


def test_it_renders_with_its_title_and_labels_on_its_axes(drawn):
    name, figure = drawn
    figure.draw_without_rendering()  # warnings are errors
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    assert FIGURES[name][2].get("title", "") is None or "A title" in titles
    for axes in figure.axes:
        assert axes.get_label() != "<colorbar>" or axes.get_ylabel()
    assert any(axes.get_xlabel() for axes in figure.axes) and any(axes.get_ylabel() for axes in figure.axes)


def points(axes: Axes) -> list[np.ndarray]:
    """Return (x, y) of every line, and (x, y, error) of every container of error bars."""
    found = [np.asarray(line.get_xydata(), float) for line in axes.lines]
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer) and container[0] is not None and len(container[0].get_xdata()):
            ends = np.array([segment[:, 1] for segment in container[2][-1].get_segments()])
            found.append(np.column_stack([container[0].get_xydata(), (ends[:, 1] - ends[:, 0]) / 2]))
    return found


def at_ends(kind: str, *columns: str) -> pd.DataFrame:
    rows = BY_FAMILY[(BY_FAMILY["layer"] == BY_FAMILY["depth"]) & (BY_FAMILY["family"] == kind)]
    return rows.sort_values("depth")[list(columns)]


def mean_of(rows: pd.DataFrame, x: str, y: str) -> np.ndarray:
    return rows.groupby(x)[y].mean().reset_index().to_numpy(float)


HE = "option == 'He normal' and activation == 'relu'"
OF_ETA = ETAS[(ETAS["layer"] == 1) & (ETAS["eta"] == 0.05)]
GUIDED = made.DECAYED[made.DECAYED["option"] == "λ*"]
ON_PLANE = OF_ETA.assign(x=OF_ETA["J0"] / OF_ETA["J"], y=1 / OF_ETA["J"]).groupby("epoch")
SHOWN: dict[str, list[tuple[int, Callable[[], Any]]]] = {  # number of the axes, and points that have to be drawn there
    "collapse": [(0, lambda: mean_of(OF_ETA, "epoch", "J2")),
                 (4, lambda: mean_of(OF_ETA.assign(t=OF_ETA["epoch"] * OF_ETA["scaling"]), "t", "J2"))],
    "finite_size": [(1, lambda: [[50, 1 - diagrams.finite_size_transitions(ROWS, SIZES)["inverse_J"][0]]])],
    "guideline": [(0, lambda: mean_of(GUIDED, "epoch", "J2")),
                  (1, lambda: mean_of(GUIDED.dropna(), "epoch", "test/loss")),
                  (2, lambda: mean_of(GUIDED.dropna(), "epoch", "test/accuracy"))],
    "length_variance": [
        (0, lambda: at_ends(KINDS[0], "depth", "log_moment_ratio", "log_moment_ratio_error")),
        (1, lambda: at_ends(KINDS[0], "beta", "log_moment_ratio", "log_moment_ratio_error")),
        (2, lambda: at_ends(KINDS[1], "depth", "log_layer_variance", "log_layer_variance_error")),
        (3, lambda: at_ends(KINDS[1], "beta", "log_layer_variance", "log_layer_variance_error")),
        (0, lambda: at_ends(KINDS[1], "depth", "log_moment_ratio_high_theory")),
        (3, lambda: at_ends(KINDS[1], "beta", "log_layer_variance_law")),
    ],
    "lengths_over_time": [(1, lambda: [(0, 0.1), (1, 0.2), (2, 0.3), (3, 0.4)]), (0, lambda: [(2, 1)])],
    "mean_length": [(0, lambda: [(0, 0), (1, np.log(2)), (2, np.log(0.5))]), (0, lambda: [(0, 0), (1, 0.1), (2, 0.2)]),
                    (0, lambda: [(0, 0), (1, np.log(3)), (2, np.log(4))])],
    "mean_length_depth": [(0, lambda: at_ends(KINDS[1], "depth", "log_mean", "log_mean_error")),
                          (0, lambda: at_ends(KINDS[0], "depth", "log_mean_theory"))],
    "phase_diagram": [(0, lambda: DIAGRAM["boundary"][["J0_over_J", "inverse_J_theory"]])],
    "phase_slope": [(0, lambda: mean_of(OF_ETA, "epoch", "J2"))],
    "phase_trajectory": [(0, lambda: ON_PLANE[["x", "y"]].mean()),
                         (1, lambda: ON_PLANE[["J", "lyapunov"]].mean()),
                         (2, lambda: ON_PLANE[["J", "test/loss"]].mean().iloc[1:])],
    "simulation": [(0, lambda: LAYERS[["layer", "log_mean", "log_mean_error"]]),
                   *((0, lambda name=name: LAYERS[["layer", name]])
                     for name in ("median", "log_mean_theory", "low_law", "median_law", "high_law"))],
    "super_convergence": [(0, lambda: [(1, 25), (2, 4)])],
    "trials": [(0, lambda: mean_of(made.searched("0.1"), "learning_rate", "val_loss")),
               (1, lambda: [(1, 1), (2, 1 / 2), (3, 1 / 3)]), (2, lambda: [(1, 0), (2, 0.3), (3, 0.6)])],
    "two_papers": [(0, lambda rate=rate: mean_of(made.rates_of(GROWTH).query(HE), "step", rate))
                   for rate in ("log_chi", "log_growth")],
    "weight_decay": [(1, lambda: mean_of(phase_slopes(DECAYS).assign(decay=lambda rows: rows["weight_decay"] / 2),
                                         "decay", "final_loss")[1:])],
}  # fmt: skip


def contains(curve: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a curve contains the expected points."""
    if curve.shape[1] < expected.shape[1] or len(curve) < len(expected):
        return False
    apart = np.abs(curve[:, None, : expected.shape[1]] - expected) / (np.abs(expected) + 1e-9)
    return bool((apart.max(2) < 1e-6).any(0).all())


@pytest.mark.parametrize("name", SHOWN)
def test_the_given_numbers_are_on_its_axes(name):
    figure = draw(name)
    for number, values in SHOWN[name]:
        curves = points(figure.axes[number])
        expected = np.asarray(values(), float)
        assert any(contains(curve, expected) for curve in curves), (number, expected, curves)
        assert not any(contains(curve, expected * 1.001 + 1e-3) for curve in curves)


def test_colours_of_a_diagram_are_means_over_matrices_at_their_places():
    tanh, relu = draw("phase_diagram").axes[:2]
    for axes, expected in ((tanh, DISTANCES.mean(0).reshape(4, 6)), (relu, np.tile(GROWTHS.mean(0), (4, 1)))):
        [mesh] = [part for part in axes.collections if isinstance(part, QuadMesh)]
        np.testing.assert_allclose(mesh.get_array(), expected)
        np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [-1, 2, 0, 2])
    assert mesh.norm.vmin == -mesh.norm.vmax


BEGUN = table({"epochs": 1}, seeds=1).assign(vary="eta")
ONE_OF_EACH = {
    "collapse": BEGUN, "phase_slope": BEGUN, "phase_trajectory": BEGUN, "scaling": BEGUN, "weight_decay": BEGUN,
    "range_test": RAMPS[RAMPS["directory"] == "w01"], "super_convergence": ERRORS[ERRORS["epoch"] < 1],
    "largest_rate": made.largest_rates(mine={5: [made.NO_RATE]}), "two_papers": made.growing(),
    "start_of_training": made.starts(mine={5: [None]}),
    "mean_length_depth": made.ensembles("family", "mine", theory=False),
    "length_variance": made.ensembles("family", "mine", theory=False, law=False),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_sweep_that_has_only_begun_is_drawn(name):
    function, _, settings = FIGURES[name]
    function(ONE_OF_EACH[name], **{key: value for key, value in settings.items() if key != "by" or value == "family"})


PHASES = ("collapse", "phase_slope", "phase_trajectory", "scaling", "weight_decay")
SWEPT = ("phase_slope", "phase_trajectory", "weight_decay", "largest_rate", "range_test", "start_of_training",
         "super_convergence", "two_papers")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "settings", "message"),
    [
        *((name, lambda _: pd.DataFrame(), {}, "table: no run has recorded the phase of a layer") for name in PHASES),
        *((name, None, {"layer": 5}, "layer = 5: no run has this layer; choose one of 0, 1") for name in PHASES),
        *((name, None, {"by": "colour"}, "by = colour: ") for name in SWEPT),
        *((name, lambda rows: rows.assign(scaling=np.nan), {}, "table: no run has a scaling variable")
          for name in ("scaling", "collapse")),
        ("two_papers", lambda rows: rows.assign(activation=None), {}, "table: no row has an activation from "),
        ("weight_decay", lambda rows: rows.assign(weight_decay=np.nan), {}, "table: no run has a number as optimizer"),
        ("largest_rate", None, {"x": "initializer"}, "x = initializer: the sweep's table has no such numeric"),
        ("largest_rate", None, {"threshold": 20}, "threshold = 20: must be a fraction"),
        ("range_test", lambda rows: rows[:0], {}, "table: holds no steps of a range test"),
        ("start_of_training", lambda rows: rows.assign(depth=np.nan), {}, "x = depth: no run has both a known start"),
        ("super_convergence", lambda rows: rows.drop(columns="val/accuracy"), {}, "table: no run has a validation"),
    ],
)  # fmt: skip
def test_a_table_or_setting_that_cannot_be_drawn_is_named(name, change, settings, message):
    function, [made_table], defaults = FIGURES[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        function(change(made_table) if change else made_table, **{**defaults, **settings})


def test_files_of_a_figure_are_the_same_bytes_each_time(tmp_path):
    files = [save_figure(draw("simulation"), tmp_path / time / "figure") for time in ("first", "second")]
    assert [file.name for file in files[0]] == ["figure.png", "figure.pdf"]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_every_initializer_and_family_of_conf_has_a_label():
    chosen = [*INITIALIZERS, *(INITIALIZERS[0].parents[1] / "family").glob("*.yaml")]
    assert {path.stem for path in chosen} - {"none"} <= LABELS.keys()


def test_seeds_are_counted_by_configuration():
    three = table({"eta": 0.05}, {"eta": 0.1}, seeds=3)
    assert seeds_text(run_counts(three)) == "Means over 3 seeds ± standard error."
    assert seeds_text(run_counts(three[three["directory"] != "0 1"])) == "Means over 2–3 seeds ± standard error."
    assert seeds_text(run_counts(three[three["seed"] == 0])) == "One run each."
