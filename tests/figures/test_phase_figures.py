"""Trajectories and slopes, drawn: what is on the page is what the runs say, and the words beneath say how."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.figures.colours import CYCLE, colours
from src.figures.phase_slope import draw_phase_slope, seeds_in_words
from src.figures.phase_trajectory import draw_phase_trajectory
from src.runs.phase_slopes import phase_slopes
from src.theory.edge_of_chaos import chi
from tests.figures.test_simulation_figures import texts
from tests.runs.test_phase_slopes import table

ETAS = ({"eta": 0.05}, {"eta": 0.1})
DRAW = pytest.mark.parametrize("draw", [draw_phase_slope, draw_phase_trajectory])


def curves(axes: Axes, colour: str, *, thin: bool = False) -> list[np.ndarray]:
    """Of solid lines in this colour the points; the vertical and horizontal marks are none."""
    found = [line for line in axes.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [line.get_xydata() for line in found if (line.get_linewidth() < 1) is thin]


def page(figure: Figure) -> bytes:
    """As it would be printed, small."""
    file = io.BytesIO()
    figure.savefig(file, dpi=40, metadata={"Software": None})
    return file.getvalue()


def stars(axes: Axes) -> np.ndarray:
    found = [line.get_xydata() for line in axes.lines if line.get_marker() == "*"]
    return np.concatenate(found)


def test_J2_its_mean_its_seeds_and_its_fit_are_drawn():
    made = table(*ETAS, seeds=3)
    figure = draw_phase_slope(made, by="eta", title="J")
    [axes] = figure.axes
    fits = phase_slopes(made)
    for colour, eta in zip(CYCLE, (0.05, 0.1), strict=False):
        own = made[(made["layer"] == 1) & (made["eta"] == eta)]
        [mean] = curves(axes, colour)
        np.testing.assert_allclose(mean[:, 1], own.groupby("epoch")["J2"].mean())
        assert len(curves(axes, colour, thin=True)) == 3
        [end] = [line[-1] for line in curves(axes, "black") if line[-1, 0] == fits[fits["eta"] == eta]["end"].mean()]
        assert end[1] == pytest.approx(fits[fits["eta"] == eta]["J2_at_end"].mean(), abs=0.01)
    lowest = fits[["lowest_epoch", "lowest_J"]].to_numpy()
    np.testing.assert_allclose(sorted(stars(axes).tolist()), sorted([epoch, J**2] for epoch, J in lowest))
    first = fits[fits["eta"] == 0.05]
    assert texts(figure)[0] == (
        f"0.05\n$A$ = {first['slope'].mean():.3g} ± {first['slope'].sem():.1g}, "
        f"epochs {first['start'].mean():.3g}–{first['end'].mean():.3g}"
    )
    assert figure.get_supxlabel().replace("\n", " ") == (
        "Means of 3 seeds ± s.e. A per epoch, fitted over the ordered phase (J² < 1) without its first 50%, but at "
        "least 3 epochs of it."
    )
    assert (figure.get_suptitle(), axes.get_ylabel()) == ("J", "$J^2$ of hidden.linear")


def test_runs_without_a_slope_or_with_a_bent_one_are_counted():
    made = table({}, {"eta": 1.0}, {"decay": 0.04, "epochs": 30}, seeds=1, noise=0.0)
    text = draw_phase_slope(made).get_supxlabel().replace("\n", " ")
    assert text.startswith("One run each. ")
    assert "1 of 3 runs have no slope." in text
    assert "In 1 of 3 runs the halves of the window differ" in text
    assert "no slope" in texts(draw_phase_slope(made))[1]


def test_the_window_is_the_one_that_is_asked_for():
    figure = draw_phase_slope(table({}, seeds=1), window=[1, 4])
    [fit] = curves(figure.axes[0], "black")
    assert fit[:, 0].tolist() == [1, 4]
    assert "fitted over epochs 1 to 4, as far as J² < 1." in figure.get_supxlabel()
    [other] = curves(draw_phase_slope(table({}, seeds=1), layer=0).axes[0], CYCLE[0])
    assert set(other[:, 1]) == {7.0}


def test_a_trajectory_runs_through_the_plane_and_beside_it_the_net_gets_better():
    made = table(*ETAS, seeds=2, noise=0.001)
    figure = draw_phase_trajectory(made, by="eta", title="Way")
    plane, lyapunov, loss, accuracy = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    rows = made[(made["layer"] == 1) & (made["eta"] == 0.1)].assign(x=made["J0"] / made["J"], y=1 / made["J"])
    [way] = curves(plane, CYCLE[1])
    np.testing.assert_allclose(way, rows.groupby("epoch")[["x", "y"]].mean().to_numpy())
    [edge] = curves(plane, "black")
    assert set(edge[:, 1]) == {1.0}
    low, high = plane.get_ylim()
    assert low < 1 < 2 < high
    [measured] = curves(lyapunov, CYCLE[1])
    np.testing.assert_allclose(measured[:, 1], rows.groupby("epoch")["lyapunov"].mean())
    [theory] = curves(lyapunov, "black")
    np.testing.assert_allclose(theory[:, 1], np.log(chi(0.0, theory[:, 0])) / 2)
    [losses] = curves(loss, CYCLE[0])
    tested = made[(made["layer"] == 1) & (made["eta"] == 0.05) & (made["epoch"] > 0)]
    np.testing.assert_allclose(losses, tested.groupby("epoch")[["J", "test/loss"]].mean().to_numpy())
    found = phase_slopes(made)
    assert sorted(stars(loss)[:, 0]) == pytest.approx(sorted(found["lowest_J"]))
    assert sorted(stars(accuracy)[:, 0]) == pytest.approx(sorted(found["lowest_J"]))
    assert sorted(stars(plane)[:, 1]) == pytest.approx(sorted(1 / found["lowest_J"]))
    assert texts(figure)[:3] == ["0.05", "0.1", "initialization"]


def test_where_the_lowest_loss_was_is_said_and_whether_that_was_the_end():
    made = table({}, {"eta": 0.02}, seeds=2, noise=0.0)
    text = draw_phase_trajectory(made, by="eta").get_supxlabel().replace("\n", " ")
    assert text == (
        "Means of 2 seeds ± s.e. Thin: each run. Lowest test loss at J = 1 ± 0, epoch 6 (0.1); "
        "J = 0.707 ± 0, epoch 10 (0.02). In 2 of 4 runs that is the last epoch."
    )


@DRAW
def test_runs_that_were_not_tested_are_drawn_too(draw):
    made = table({}, seeds=1).drop(columns=["test/loss", "test/accuracy"])
    figure = draw(made)
    assert "lowest" not in figure.get_supxlabel().lower()
    assert curves(figure.axes[0], CYCLE[0])


@DRAW
def test_one_epoch_is_drawn(draw):
    assert draw(table({}, epochs=1, seeds=1)).axes


@DRAW
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "colour"}, "by = colour: no column of the sweep's table; there are "),
        ({"layer": 5}, "layer = 5: no run has it; there are 0, 1"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, settings, message):
    with pytest.raises(ValueError, match=message):
        draw(table({}, seeds=1), **settings)


@DRAW
def test_a_table_without_phases_is_named(draw):
    with pytest.raises(ValueError, match="table: holds no phase of a layer"):
        draw(pd.DataFrame())


@DRAW
def test_the_same_table_gives_the_same_page(draw):
    made = table(*ETAS)
    assert page(draw(made, by="eta")) == page(draw(made, by="eta"))


def test_seeds_are_counted_by_configuration():
    made = table(*ETAS, seeds=3)
    assert seeds_in_words(made) == "Means of 3 seeds ± s.e."
    assert seeds_in_words(made[made["directory"] != "0 1"]) == "Means of 2–3 seeds ± s.e."
    assert seeds_in_words(made[made["seed"] == 0]) == "One run each."


def test_many_numbers_are_shades_in_their_order_and_few_names_are_colours():
    assert list(colours(["b", "a"]).values()) == list(CYCLE[:2])
    assert list(colours(["0.1", "0.2"]).values()) == list(CYCLE[:2])
    shades = colours(["10", "9", "1", "0.5", "100"])
    assert list(shades) == ["10", "9", "1", "0.5", "100"]
    order = ["0.5", "1", "9", "10", "100"]
    greens = [shades[option][1] for option in order]
    assert greens == sorted(greens)  # viridis gets lighter
    assert len({tuple(colour) for colour in colours([f"n{number}" for number in range(12)]).values()}) == 12


def test_the_points_of_a_curve_are_marked_where_they_are_few():
    for epochs, marker in ((10, "o"), (60, "None")):
        [axes] = draw_phase_slope(table({"eta": 0.01}, epochs=epochs, seeds=1)).axes
        [line] = [line for line in axes.lines if line.get_color() == CYCLE[0] and len(line.get_xdata()) > 2]
        assert line.get_marker() == marker
