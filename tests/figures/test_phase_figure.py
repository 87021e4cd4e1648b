"""Figures of slopes and trajectories: fits, stars, legends and captions agree with the runs."""

import numpy as np
import pytest

from start_training.analysis.phase_slopes import phase_slopes
from start_training.figures.axes import CYCLE
from start_training.figures.phase_slope import draw_phase_slope
from start_training.figures.phase_trajectory import draw_phase_trajectory
from start_training.theory.edge_of_chaos import chi
from tests.analysis.test_phase_slopes import table
from tests.figures.made import beneath, solid, texts


@pytest.fixture(scope="module")
def made():
    return table({"eta": 0.05}, {"eta": 0.1}, seeds=3, noise=0.001)


def stars(axes) -> np.ndarray:
    return np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "*"])


def test_seeds_fits_and_lowest_losses_are_drawn_and_the_legend_has_slope_error_and_window(made):
    figure = draw_phase_slope(made, by="eta")
    [axes], fits = figure.axes, phase_slopes(made)
    for colour, eta in zip(CYCLE, (0.05, 0.1), strict=False):
        of_eta = fits[fits["eta"] == eta]
        assert len(solid(axes, colour, thin=True)) == 3
        [end] = [line[-1] for line in solid(axes, "black") if line[-1, 0] == of_eta["end"].mean()]
        assert end[1] == pytest.approx(of_eta["J2_at_end"].mean(), abs=0.01)
    lowest = [[epoch, J**2] for epoch, J in fits[["lowest_epoch", "lowest_J"]].to_numpy()]
    np.testing.assert_allclose(sorted(stars(axes).tolist()), sorted(lowest))
    first = fits[fits["eta"] == 0.05]
    window = f"epochs {first['start'].mean():.3g}–{first['end'].mean():.3g}"
    assert texts(figure)[0] == f"0.05\n$A$ = {first['slope'].mean():.3g} ± {first['slope'].sem():.1g}, {window}"


def test_runs_without_a_slope_or_with_a_bent_one_are_counted():
    figure = draw_phase_slope(table({}, {"eta": 1.0}, {"decay": 0.04, "epochs": 30}, seeds=1, noise=0.0))
    assert "For 1 of 3 runs no slope could be fitted." in beneath(figure)
    assert "In 1 of 3 runs the slopes of the window's halves differ" in beneath(figure)


def test_a_trajectory_has_theory_behind_it_and_stars_at_the_lowest_losses(made):
    figure = draw_phase_trajectory(made, by="eta")
    plane, lyapunov, loss, accuracy = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    [edge] = solid(plane, "black")
    assert set(edge[:, 1]) == {1.0}
    [theory] = solid(lyapunov, "black")
    np.testing.assert_allclose(theory[:, 1], np.log(chi(0.0, theory[:, 0])) / 2)
    lowest = sorted(phase_slopes(made)["lowest_J"])
    assert sorted(stars(loss)[:, 0]) == sorted(stars(accuracy)[:, 0]) == pytest.approx(lowest)
    assert sorted(1 / stars(plane)[:, 1]) == pytest.approx(lowest)
