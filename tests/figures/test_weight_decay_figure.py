"""Weight decay, drawn: points and errors of each decay, zero set apart, and λ* where the law has it."""

import numpy as np
import pandas as pd
import pytest

from src.figures.colours import CYCLE
from src.figures.weight_decay import draw_weight_decay
from src.runs.decay_points import decay_points, edge_decays
from src.runs.phase_slopes import phase_slopes
from tests.figures.test_phase_figures import page
from tests.figures.test_simulation_figures import texts
from tests.runs.test_decay_points import DECAYS
from tests.runs.test_phase_slopes import table


def sweep(decays: tuple = DECAYS, *, seeds: int = 3, **common) -> pd.DataFrame:
    return table(*({"decay": decay} for decay in decays), epochs=20, seeds=seeds, **common)


def points(axes, colour: str = CYCLE[0], face: str = CYCLE[0]) -> np.ndarray:
    found = [line for line in axes.lines if line.get_marker() == "o" and line.get_color() == colour]
    [one] = [line for line in found if line.get_markerfacecolor() == face]
    return one.get_xydata()


def test_final_J_loss_and_accuracy_are_drawn_against_half_of_weight_decay():
    made = sweep(noise=0.01)
    figure = draw_weight_decay(made, title="Decay")
    J, loss, accuracy = figure.axes
    expected = decay_points(phase_slopes(made).assign(option=""))
    for axes, name, face in ((J, "J", CYCLE[0]), (loss, "final_loss", CYCLE[0]), (loss, "lowest_loss", "white"),
                             (accuracy, "accuracy", CYCLE[0])):  # fmt: skip
        drawn = points(axes, face=face)
        np.testing.assert_allclose(drawn[:, 1], expected[name])
        np.testing.assert_allclose(drawn[1:, 0], expected["decay"][1:])
        assert 0 < drawn[0, 0] < expected["decay"][1] / 2  # zero
        assert axes.get_xticklabels()[0].get_text() == "0"
        assert axes.get_xticks()[0] == drawn[0, 0]
    assert figure.get_suptitle() == "Decay"


def test_the_law_s_decay_is_a_band_and_J_of_the_law_goes_through_the_points():
    made = sweep(noise=0.01)
    figure = draw_weight_decay(made)
    [(decay, error)] = edge_decays(phase_slopes(made).assign(option="")).values()
    [band] = figure.axes[0].patches
    assert (band.get_x(), band.get_width()) == pytest.approx((decay - error, 2 * error))
    [law] = [line.get_xydata() for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    drawn = points(figure.axes[0])
    np.testing.assert_allclose(np.interp(np.log(drawn[:, 0]), np.log(law[:, 0]), law[:, 1]), drawn[:, 1], atol=0.05)
    text = figure.get_supxlabel().replace("\n", " ")
    assert text.startswith("Means of 3 seeds ± s.e. 20 epochs. J² still changed by more than 2% in the last 25% of ")
    assert "at λ = 0.0005" in text
    assert f" λ* = {decay:.3g} ± {error:.1g} (weight_decay {2 * decay:.3g}); A fitted over " in text
    assert any(r"\lambda^*" in each for each in texts(figure))


def test_settings_that_are_told_apart_have_a_curve_and_a_decay_each():
    made = pd.concat([sweep(), sweep(eta=0.05).assign(configuration=lambda rows: "slow" + rows["configuration"])])
    made["directory"] += made["eta"].astype(str)
    figure = draw_weight_decay(made, by="eta")
    assert texts(figure)[:2] == ["0.1", "0.05"]
    assert " for 0.05; A fitted over" in figure.get_supxlabel().replace("\n", " ")
    assert len(points(figure.axes[0])) == 4


def test_configurations_that_are_put_together_are_told_of():
    made = pd.concat([sweep(), sweep(eta=0.05).assign(configuration=lambda rows: "slow" + rows["configuration"])])
    made["directory"] += made["eta"].astype(str)
    words = "Some points are means of several configurations"
    assert words in draw_weight_decay(made).get_supxlabel().replace("\n", " ")
    assert words not in draw_weight_decay(made, by="eta").get_supxlabel().replace("\n", " ")


@pytest.mark.parametrize("decays", [(0.0,), (1e-3,), (1e-3, 1e-2)])
def test_a_sweep_that_has_only_begun_is_drawn(decays):
    figure = draw_weight_decay(sweep(decays, seeds=1))
    said = "λ* = " if 0.0 in decays else "No λ*: no run without weight decay has a slope."
    assert said in figure.get_supxlabel()
    assert draw_weight_decay(table({"epochs": 1}, seeds=1)).axes


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match=r"^by = colour: no column"):
        draw_weight_decay(sweep(), by="colour")
    with pytest.raises(ValueError, match=r"^table: no run has an optimizer\.weight_decay"):
        draw_weight_decay(sweep().assign(weight_decay=np.nan))


def test_the_same_table_gives_the_same_page():
    assert page(draw_weight_decay(sweep())) == page(draw_weight_decay(sweep()))
