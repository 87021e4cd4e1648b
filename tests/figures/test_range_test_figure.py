"""Range tests, drawn: each curve, the mean over seeds, the suggested rates; what blows up stays off the page."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.figures.range_test import draw_range_test
from src.figures.save import save_figure
from tests.figures.test_simulation_figures import texts

STEPS, SEEDS = 41, 3


def table(kind: str = "exponential", blow: float = np.inf, **turns: float) -> pd.DataFrame:
    """For each weight decay (the name, less its first letter) tests of three seeds whose loss turns up at its rate."""
    rates = np.geomspace(1e-3, 10, STEPS) if kind == "exponential" else np.linspace(0.1, 4, STEPS)
    steps, tests = np.arange(STEPS), []
    for name, turn in turns.items():
        for seed in range(SEEDS):
            own = turn * 2 ** (0.5 * (seed - 1))
            loss = np.where(rates <= own, 2.4 - 2 * rates / own, 0.4 + 10 * np.log(rates / own))
            end = int(np.argmax(rates > 4 * own)) or STEPS - 1
            loss[end] = blow
            seen = (steps % 4 == 0) | (steps == end)
            test = {
                "directory": f"{name}{seed}",
                "seed": seed,
                "optimizer.weight_decay": float(name[1:]),
                "initializer": "he_normal",
                "varied": f"optimizer.weight_decay={name[1:]}" if len(turns) > 1 else "",
                "step": steps,
                "learning_rate": rates,
                "train_loss": loss - 0.1 * seed,
                "val_loss": np.where(seen, loss, np.nan),
                "val_accuracy": np.where(seen, np.clip(1 - loss / 2.4, 0, 1), np.nan),
                "max_lr": own,
            }
            tests.append(pd.DataFrame(test)[: end + 1])
    return pd.concat(tests, ignore_index=True)


TWO = {"w0": 0.5, "w1": 0.1}


def panels(figure: Figure) -> dict[str, Axes]:
    return dict(zip(("train_loss", "val_loss", "val_accuracy", "gap"), figure.axes, strict=True))


def lines(axes: Axes, colour: str, *, thin: bool = False) -> list[np.ndarray]:
    """The curves of this colour as arrays of points; the vertical marks are none."""
    found = [line for line in axes.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [line.get_xydata() for line in found if (line.get_linewidth() < 1) is thin]


def marks(axes: Axes) -> list[float]:
    return [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "--"]


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_four_quantities_share_the_rates_on_the_axis_of_their_ramp(kind):
    figure = draw_range_test(table(kind, **TWO), title="Two")
    labels = [axes.get_ylabel().split("\n")[0] for axes in figure.axes]
    assert labels == ["training loss", "validation loss", "validation accuracy", "generalization gap"]
    assert {axes.get_xscale() for axes in figure.axes} == {"log" if kind == "exponential" else "linear"}
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "learning rate", "learning rate"]
    assert figure.get_suptitle() == "Two"


def test_a_curve_is_the_mean_over_seeds_as_far_as_all_of_them_go_and_each_seed_is_there():
    curves = table(**TWO)
    drawn, fewer = panels(draw_range_test(curves)), 0
    for name in ("train_loss", "val_loss", "val_accuracy"):
        for colour, decay in (("C0", 0), ("C1", 1)):
            own = curves[(curves["optimizer.weight_decay"] == decay) & np.isfinite(curves[name])]
            [mean] = lines(drawn[name], colour)
            every = own.groupby("learning_rate")[name].agg(["mean", "size"])
            np.testing.assert_allclose(mean, every[every["size"] == SEEDS]["mean"].reset_index().to_numpy())
            fewer += int((every["size"] < SEEDS).sum())
            thin = lines(drawn[name], colour, thin=True)
            assert [len(each) for each in thin] == own.groupby("directory").size().tolist()
    assert fewer  # or the test would not see a mean of those that are left


def test_the_gap_is_validation_loss_less_the_training_loss_since_the_last_validation():
    curves = table(w0=0.5)
    curves["train_loss"] += np.where(curves["step"] % 4 == 2, 4.0, 0.0)  # one step of four
    [gap] = lines(panels(draw_range_test(curves))["gap"], "C0")
    seed = curves[curves["directory"] == "w01"].set_index("step")
    rate, value = gap[3]
    assert rate == seed["learning_rate"][12]
    validation, train = (curves[curves["step"].between(first, 12)] for first in (12, 9))  # of three seeds
    assert value == pytest.approx(validation["val_loss"].mean() - train["train_loss"].mean())
    assert abs(value - (validation["val_loss"] - validation["train_loss"]).mean()) > 0.5


def test_suggested_rates_are_marked_in_every_panel_median_and_range():
    figure = draw_range_test(table(**TWO))
    for axes in figure.axes:
        assert marks(axes) == pytest.approx([0.5, 0.1])
        spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
        low, high = 2**-0.5, 2**0.5
        assert [span.x0 for span in spans] == pytest.approx([0.5 * low, 0.1 * low])
        assert [span.x1 for span in spans] == pytest.approx([0.5 * high, 0.1 * high])


@pytest.mark.parametrize("blow", [np.inf, np.nan, -np.inf, 1e10, 1e300])
def test_what_diverges_leaves_the_panels_and_their_limits_alone(blow):
    figure = draw_range_test(table(blow=blow, **TWO))
    drawn = panels(figure)
    for name in ("val_loss", "train_loss"):
        low, high = drawn[name].get_ylim()
        learned = min(line.get_ydata().min() for line in drawn[name].lines if len(line.get_ydata()) > 2)
        assert 0 <= low <= learned < high == pytest.approx(1.3 * 2.4, rel=0.02)
    best = max(line.get_ydata().max() for line in drawn["val_accuracy"].lines if len(line.get_ydata()) > 2)
    assert drawn["val_accuracy"].get_ylim() == pytest.approx((-0.02 * best, 1.05 * best))
    low, high = drawn["gap"].get_ylim()
    assert -3.2 < low < 0 < 0.1 < high < 3.2
    figure.canvas.draw()


def test_a_net_that_begins_at_a_huge_loss_does_not_flatten_the_others():
    curves = table(w0=0.5, w1=0.1, w2=0.2)
    of_one = curves["optimizer.weight_decay"] == 2
    curves.loc[of_one, ["train_loss", "val_loss"]] *= 1e6
    assert panels(draw_range_test(curves))["val_loss"].get_ylim()[1] < 4


def test_the_legend_names_the_setting_and_its_rates():
    figure = draw_range_test(table(**TWO))
    [legend] = figure.legends
    assert legend.get_title().get_text() == "optimizer.weight_decay"
    assert texts(figure)[:2] == ["0\nmax_lr 0.5 (0.35–0.71)", "1\nmax_lr 0.1 (0.071–0.14)"]
    assert texts(figure)[2:] == ["mean of 3 runs", "each run", "max_lr, range over runs", "max_lr, median"]
    alone = draw_range_test(table(w0=0.5))
    assert texts(alone)[0] == "max_lr 0.5 (0.35–0.71)"
    assert alone.legends[0].get_title().get_text() == ""


def test_curves_are_told_apart_by_what_is_asked_for_or_by_all_that_varies():
    curves = table(**TWO)
    assert texts(draw_range_test(curves, by="initializer"))[0].startswith("He normal\nmax_lr 0.22 (0.071–0.71)")
    curves["varied"] += " initializer=he_normal"
    assert texts(draw_range_test(curves))[0].startswith("weight_decay 0, He normal\n")
    curves.loc[curves["optimizer.weight_decay"] == 0, "optimizer.weight_decay"] = np.nan
    assert texts(draw_range_test(curves, by="optimizer.weight_decay"))[0].startswith("default\n")


def test_a_test_without_a_rate_is_drawn_without_a_mark():
    curves = table(**TWO)
    curves.loc[curves["optimizer.weight_decay"] == 1, "max_lr"] = np.nan
    figure = draw_range_test(curves)
    assert texts(figure)[1] == "1\nno max_lr"
    assert marks(figure.axes[0]) == pytest.approx([0.5])
    assert draw_range_test(curves.drop(columns="max_lr")).axes


def test_one_test_alone_has_no_spread():
    curves = table(w0=0.5)
    figure = draw_range_test(curves[curves["seed"] == 1])
    assert texts(figure)[1:] == ["one run", "max_lr, median"]
    assert not lines(figure.axes[0], "C0", thin=True)


def test_training_loss_is_smoothed_where_asked_and_the_axis_says_so():
    curves = table(w0=0.5)
    curves["train_loss"] += np.where(curves["step"] % 2, 1.0, -1.0)
    plain, smooth = (panels(draw_range_test(curves, smooth=steps))["train_loss"] for steps in (1, 8))
    assert smooth.get_ylabel() == "training loss, mean of 8 steps"
    rough = [np.abs(np.diff(lines(axes, "C0")[0][:12, 1])).max() for axes in (plain, smooth)]
    assert rough[0] > 1.5
    assert rough[1] < 0.3


def test_many_curves_have_colours_of_their_own():
    figure = draw_range_test(table(**{f"w{number}": 0.1 * number for number in range(1, 14)}))
    colours = {str(line.get_color()) for line in figure.axes[0].lines if line.get_linestyle() == "--"}
    assert len(colours) == 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "nothing"}, "by = nothing: no column of the sweep's table; there are directory, seed"),
        ({"smooth": 0}, "smooth = 0: must be a whole number of at least 1"),
    ],
)
def test_a_setting_that_cannot_be_drawn_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_range_test(table(**TWO), **arguments)


def test_a_table_without_rows_is_named():
    with pytest.raises(ValueError, match="holds no range test"):
        draw_range_test(table(**TWO)[:0])


def test_the_table_is_left_alone_and_the_figure_is_the_same_bytes_each_time(tmp_path):
    curves = table(**TWO)
    before = curves.copy()
    for name in ("one", "two"):
        save_figure(draw_range_test(curves, title="t"), tmp_path / name)
    pd.testing.assert_frame_equal(curves, before)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
