"""Error against epochs, drawn: every configuration is there, and who gets there first is said."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from src.figures.save import save_figure
from src.figures.super_convergence import (
    draw_super_convergence,
    epochs_to_reach,
    error_curves,
    final_errors,
    option_of,
)

BY = ["schedule", "optimizer.lr"]


def table(**errors: list[list[float]]) -> pd.DataFrame:
    """Of each `schedule_epochs` the validation errors of each seed, in percent; tests are half a percent worse."""
    rows = []
    for name, seeds in errors.items():
        schedule, _, budget = name.rpartition("_")
        for seed, curve in enumerate(seeds):
            facts = {"directory": f"{name} {seed}", "configuration": name, "seed": seed, "schedule": schedule}
            facts |= {"optimizer.lr": 0.1, "trainer.max_epochs": int(budget)}
            rows += [facts | {"epoch": at, "val/accuracy": 1 - error / 100} for at, error in enumerate(curve)]
            if len(curve) == int(budget):  # else it is running, or has diverged
                rows.append(facts | {"epoch": len(curve), "test/accuracy": 1 - (curve[-1] + 0.5) / 100})
    return pd.DataFrame(rows)


SWEEP = {
    "one_cycle_2": [[20, 4], [30, 5], [25, 3]],
    "inverse_2": [[20, 12], [18, 10], [22, 11]],
    "inverse_6": [[20, 12, 9, 5, 3.5, 3], [18, 10, 7, 5, 4, 3], [22, 11, 8, 5, 3, 3]],
}


def drawn(axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each curve, a list for each colour, longest first."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for line in axes.lines:
        if line.get_linestyle() == "-":
            points = [tuple(map(float, point)) for point in line.get_xydata()]
            found.setdefault(to_hex(line.get_color()), []).append(points)
    return {color: sorted(curves, key=len) for color, curves in found.items()}


def test_curves_are_means_over_seeds_with_their_standard_errors():
    curves = error_curves(table(**SWEEP), by=["schedule"]).set_index(["configuration", "epochs"])
    assert curves.loc[("one_cycle_2", 2), "mean"] == pytest.approx(4)
    assert curves.loc[("one_cycle_2", 2), "error"] == pytest.approx(np.std([4, 5, 3], ddof=1) / 3**0.5)
    assert curves.loc[("inverse_6", 5), "mean"] == pytest.approx(3.5)
    assert curves["runs"].eq(3).all()
    assert curves.loc["inverse_6"].index.tolist() == [1, 2, 3, 4, 5, 6]


def test_an_epoch_that_a_seed_has_not_come_to_is_left_out():
    sweep = SWEEP | {"inverse_6": [SWEEP["inverse_6"][0], SWEEP["inverse_6"][1], [22, 11, 8]]}
    curves = error_curves(table(**sweep), by=["schedule"])
    assert curves[curves["configuration"] == "inverse_6"]["epochs"].tolist() == [1, 2, 3]
    ends = final_errors(table(**sweep), by=["schedule"]).set_index("configuration")
    assert ends["runs"].to_dict() == {"one_cycle_2": 3, "inverse_2": 3, "inverse_6": 2}
    figure = draw_super_convergence(table(**sweep))
    assert "3.50 ± 0.00% (2 runs)" in [text.get_text() for text in figure.axes[1].texts]


def test_the_test_error_is_that_of_each_run_after_its_last_epoch():
    ends = final_errors(table(**SWEEP), by=BY).set_index("configuration")
    assert ends["mean"].to_dict() == pytest.approx({"one_cycle_2": 4.5, "inverse_2": 11.5, "inverse_6": 3.5})
    assert ends["epochs"].to_dict() == {"one_cycle_2": 2, "inverse_2": 2, "inverse_6": 6}
    assert ends["error"]["inverse_2"] == pytest.approx(1 / 3**0.5)
    assert ends["option"].unique().tolist() == ["1cycle, lr 0.1", "inverse decay, lr 0.1"]


def test_when_the_others_are_as_low_as_the_best_of_the_shortest_is_said():
    said = epochs_to_reach(error_curves(table(**SWEEP), by=["schedule"]))
    assert said == (
        "1cycle ends 2 epochs with a validation error of 4.00 ± 0.58%. As low: inverse decay after 5 of 6 epochs."
    )
    worse = SWEEP | {"inverse_6": [[20, 12, 9, 8, 7, 6]] * 3}
    said = epochs_to_reach(error_curves(table(**worse), by=["schedule"]))
    assert said.endswith("As low: inverse decay not within 6 epochs.")
    other = SWEEP | {"one_cycle_2": [[20, 15]] * 3}  # the decaying rate is better at once
    said = epochs_to_reach(error_curves(table(**other), by=["schedule"]))
    assert said == (
        "inverse decay ends 2 epochs with a validation error of 11.00 ± 0.58%. "
        "As low: 1cycle not within 2 epochs; inverse decay after 2 of 6 epochs."
    )
    alone = epochs_to_reach(error_curves(table(one_cycle_2=SWEEP["one_cycle_2"][:1]), by=["schedule"]))
    assert alone == "1cycle ends 2 epochs with a validation error of 4.00%."


def test_every_configuration_is_drawn_and_those_of_one_schedule_in_one_colour():
    figure = draw_super_convergence(table(**SWEEP), title="Both")
    left, right = figure.axes
    one_cycle, inverse = drawn(left).values()
    assert one_cycle == [[(1, pytest.approx(25)), (2, pytest.approx(4))]]
    assert [len(curve) for curve in inverse] == [2, 6]
    assert inverse[1][:2] == inverse[0]
    assert (left.get_xscale(), left.get_yscale(), right.get_xscale()) == ("log", "log", "log")
    assert [tick.get_text() for tick in right.get_yticklabels()] == [
        "1cycle, 2 epochs",
        "inverse decay, 2 epochs",
        "inverse decay, 6 epochs",
    ]
    numbers = ["4.50 ± 0.58%", "11.50 ± 0.58%", "3.50 ± 0.00%"]
    assert [text.get_text() for text in right.texts] == numbers
    assert figure.get_suptitle() == "Both"
    assert figure.get_supxlabel().startswith("Means of 3 seeds ± s.e. 1cycle ends 2 epochs")


def test_a_sweep_of_which_nothing_is_tested_yet_is_drawn():
    running = table(one_cycle_2=[[20], [30]], inverse_6=[[20, 10]])
    assert "test/accuracy" not in running
    figure = draw_super_convergence(running)
    assert figure.get_supxlabel().startswith("Means of 1–2 seeds")
    assert not figure.axes[1].texts


def test_runs_that_leave_a_setting_alone_are_a_curve_too():
    runs = table(**SWEEP)
    runs.loc[runs["schedule"] == "inverse", "schedule"] = None
    assert set(option_of(runs, ["schedule"])) == {"1cycle", "schedule default"}


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match=r"^by = nothing: no column of the sweep's table; there are directory"):
        draw_super_convergence(table(**SWEEP), by="nothing")
    with pytest.raises(ValueError, match=r"^table: holds no validation accuracy; datamodule\.validation must"):
        draw_super_convergence(table(**SWEEP).drop(columns="val/accuracy"))


def test_the_same_table_gives_the_same_bytes(tmp_path):
    files = [save_figure(draw_super_convergence(table(**SWEEP), by=BY), tmp_path / name) for name in "ab"]
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_legend_names_the_schedules_and_the_last_epoch():
    figure = draw_super_convergence(table(**SWEEP))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "1cycle",
        "inverse decay",
        "last epoch",
    ]
