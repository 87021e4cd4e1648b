"""Slopes, exponents and constants of sweeps generated from the scaling law, and of sweeps that deviate from it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, sem, variation
from scipy.stats import t as student

from start_training.analysis.phase_curves import layer_rows, mean_curves, with_scaling
from start_training.analysis.phase_slopes import (
    constant_spread,
    exponents,
    law_points,
    law_variable,
    phase_slopes,
    settings_of_law,
    window_rule,
)
from start_training.order_chaos.scaling_law import scaling_variable
from tests.analysis.made_phases import CONSTANT, START, STEPS, losses, phases

ETAS = (0.02, 0.04, 0.08, 0.16)


def table(*settings: dict, seeds: int = 2, **common) -> pd.DataFrame:
    """A table like the result of `sweep_curves` with kind `phase`, for runs with these settings."""
    runs = []
    for number, changes in enumerate(settings):
        shape = {"eta": 0.1, "alpha": 0.0, "batch": 32, "epochs": 10, "decay": 0.0, "noise": 0.003} | common | changes
        vary = {"vary": shape.pop("vary")} if "vary" in shape else {}
        for seed in range(seeds):
            rows = phases(**shape, seed=10 * number + seed).rename(columns={"name": "layer_name"})
            loss, accuracy = losses(rows["J2"])
            tested = rows["step"] > 0
            facts = {
                "directory": f"{number} {seed}",
                "configuration": str(number),
                "seed": seed,
            }
            facts |= {name: float(shape[name]) for name in ("eta", "alpha", "batch")} | vary | {"varied": str(changes)}
            rows = rows.assign(**facts, weight_decay=shape["decay"])
            runs.append(rows.assign(**{"test/loss": loss.where(tested), "test/accuracy": accuracy.where(tested)}))
    return pd.concat(runs, ignore_index=True)


def test_the_slope_over_the_window_is_that_of_the_law():
    [run] = phase_slopes(table({}, seeds=1, noise=0.0)).to_dict("records")
    A = CONSTANT * scaling_variable(0.1, 0.0, 32)  # 0.125
    expected = {"slope": A, "constant": CONSTANT, "intercept": START, "start": 2, "end": 5, "points": 4}  # 1 in epoch 6
    expected |= {"J2_at_end": START + 5 * A, "edge_epoch": 6, "lowest_epoch": 6, "lowest_loss": 0.4, "lowest_J": 1}
    expected |= {"steps_per_epoch": STEPS, "epochs": 10, "final_J2": START + 10 * A, "bent": False, "reason": ""}
    final = losses(START + 10 * A)
    expected |= {"final_loss": final[0], "final_accuracy": final[1], "scaling": 0.1 / 32, "settled": False}
    assert {name: run[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("window", "unit", "expected", "rule"),
    [
        ([1, 4], "epochs", (1, 4), "epochs 1 to 4 while"),
        ([0, 50], "epochs", (0, 5), "epochs 0 to 50 while"),  # only the ordered phase
        ([0.003, 0.0126], "rescaled", (1, 4), "rescaled times 0.003 to 0.0126"),
        ([0.3, 0.8], "J2", (1, 4), "J² from 0.3 to 0.8"),
        ([0.375, 0.75], "J2", (1, 4), "J² from 0.375 to 0.75"),  # exactly the J² of two measurements
        ("half", "epochs", (2, 5), "the last 50% of the ordered phase (J² < 1)"),
    ],
)
def test_a_window_is_in_epochs_rescaled_time_or_J2_and_ends_at_the_edge(window, unit, expected, rule):
    [run] = phase_slopes(table({}, seeds=1, noise=0.0), window=window, window_in=unit).to_dict("records")
    start, end = expected
    assert run["points"] == end - start + 1
    assert start - 1 < run["start"] <= start
    assert end <= run["end"] < end + 1
    assert window_rule(window, unit).startswith(rule)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": "all"}, r"window = 'all': must be the word half, or \[start, end\]"),
        ({"window": [3, 3], "window_in": "J2"}, r"window = \[3, 3\]: must be the word half"),
        ({"window": [2, 4.9]}, r"window = \[2, 4.9\]: must span at least 3 epochs"),
        ({"window": [1, 2, 3]}, r"window = \[1, 2, 3\]: must be the word half"),
        ({"window": ["a", "b"]}, "window = "),
        ({"window": [1, 4], "window_in": "steps"}, "window_in = 'steps': must be one of J2, epochs, rescaled"),
        ({"layer": 3}, "layer = 3: no run has this layer; choose one of 0, 1"),
    ],
)
def test_an_invalid_window_layer_or_table_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        phase_slopes(table({}, seeds=1), **settings)
    with pytest.raises(ValueError, match=r"^table: no run has recorded the phase of a layer; train with"):
        phase_slopes(pd.DataFrame())
    with pytest.raises(ValueError, match=r"^table: no run has a scaling variable"):
        with_scaling(layer_rows(table({}).assign(scaling=np.nan)))


def test_layer_rows_are_sorted_and_of_the_first_square_layer_by_default():
    rows = table({}, seeds=1)
    assert set(layer_rows(rows)["layer"]) == {1}
    assert set(layer_rows(rows, 0)["layer"]) == {0}
    assert set(layer_rows(rows.assign(fan_out=9))["layer"]) == {0}  # none is square
    assert layer_rows(rows.sample(frac=1, random_state=0))["step"].is_monotonic_increasing
    assert layer_rows(pd.concat([rows, rows.tail(1).assign(J2=0.5)]))["J2"].tolist()[-1] == 0.5  # the later row
    broken = layer_rows(rows.assign(J=rows["J"].where(rows["epoch"] < 4)))
    assert broken["epoch"].max() == 3
    assert broken["rescaled"].tolist() == pytest.approx([epoch * 0.1 / 32 for epoch in range(4)])


def test_a_run_without_a_slope_says_why():
    rows = table({"eta": 1.0}, {"epochs": 2}, {"eta": 0.01}, seeds=1)
    begun = rows[(rows["directory"] == "2 0") & (rows["epoch"] == 0)].assign(directory="begun")
    result = phase_slopes(pd.concat([rows, begun]))
    assert ["a slope needs at least 3" in reason for reason in result["reason"]] == [True, True, False, True]
    assert result["edge_epoch"].lt(1).tolist() == [True, False, False, False]
    assert not result["bent"].any()
    assert result["points"].tolist()[:2] == [0, 0]
    assert result["slope"].isna().sum() == 3
    assert result["steps_per_epoch"].isna().tolist() == [False, False, False, True]
    assert np.isnan(result["lowest_loss"].iloc[3])  # it was never tested


@pytest.mark.parametrize("power", [1.0, 0.8])
def test_exponents_are_those_of_the_law_and_exclude_another_law(power):
    runs = [{"eta": eta, "vary": "eta"} for eta in ETAS]
    runs += [{"eta": 0.02, "alpha": alpha, "vary": "alpha"} for alpha in (0, 0.5, 0.75, 0.875)]
    runs += [{"batch": batch, "vary": "batch"} for batch in (32, 64, 128, 256)]
    slopes = phase_slopes(table(*runs, epochs=30, power=power, noise=0.002))
    result = exponents(slopes)
    assert list(result) == ["eta", "alpha", "batch"]
    for name, exponent in result.items():
        points = law_points(slopes[slopes["vary"] == name], name)
        fit = linregress(np.log(points["x"]), np.log(points["slope"]))
        assert exponent.value == pytest.approx(fit.slope)
        assert exponent.high - exponent.value == pytest.approx(fit.stderr * student.ppf(0.975, 2))
        assert exponent.low < power < exponent.high
        assert (exponent.low < 1 < exponent.high) is (power == 1)
    spread, constants = constant_spread(slopes), slopes["constant"]
    assert spread["runs"] == 24
    assert spread["relative_sd"] == pytest.approx(variation(constants, ddof=1))
    assert spread["sd"] == pytest.approx(constants.to_numpy().std(ddof=1))
    assert (spread["smallest"], spread["largest"]) == (constants.min(), constants.max())
    assert spread["ratio"] == pytest.approx(constants.max() / constants.min())
    assert (spread["relative_sd"] < 0.05) is (abs(spread["mean"] / CONSTANT - 1) < 0.03) is (power == 1)
    assert np.isnan(constant_spread(slopes.assign(constant=-constants))["ratio"])
    assert exponents(slopes[slopes["eta"].isin(ETAS[:2])])["eta"] is None  # two points are too few


def test_points_are_means_over_the_seeds_that_have_a_slope():
    slopes = phase_slopes(table(*({"eta": eta} for eta in (*ETAS, 1.0)), seeds=3))
    slopes.loc[slopes["directory"] == "1 0", "bent"] = True
    points = law_points(slopes, "eta")
    assert points["x"].tolist() == list(ETAS)
    assert (points["runs"].tolist(), points["bent"].tolist()) == ([3] * 4, [0, 1, 0, 0])
    of_each = [slopes[slopes["eta"] == eta]["slope"] for eta in ETAS]
    assert points["slope"].tolist() == pytest.approx([of_one.mean() for of_one in of_each])
    assert points["error"].tolist() == pytest.approx([sem(of_one) for of_one in of_each])
    batches = law_points(slopes.assign(batch=[32, 64, 16] * 5), "batch")
    assert batches["x"].tolist() == [1 / 64, 1 / 32, 1 / 16]
    assert law_variable("alpha", [0.0, 0.5, 0.9]).tolist() == pytest.approx([1, 2, 10])
    changing = phase_slopes(table({}, seeds=1).assign(scaling=lambda rows: 1 + rows["epoch"]))
    assert changing[["scaling", "constant"]].isna().all(axis=None) and changing["slope"].notna().all()


def test_without_a_column_vary_the_other_settings_have_the_values_at_which_one_varies_most():
    runs = [*({"eta": eta} for eta in ETAS), {"batch": 64}, {"alpha": 0.5}, {"eta": 0.02, "batch": 64}, {"batch": 16}]
    result = settings_of_law(phase_slopes(table(*runs, {}, seeds=1)))
    assert sorted(result["eta"]["eta"]) == [0.02, 0.04, 0.08, 0.1, 0.16]
    assert set(result["eta"]["batch"]) == {32}
    assert sorted(result["batch"]["batch"]) == [16, 32, 64]
    assert sorted(result["alpha"]["alpha"]) == [0, 0.5]
    assert settings_of_law(phase_slopes(table({}))) == {}


def test_a_run_whose_J2_is_constant_at_the_end_has_settled():
    result = phase_slopes(table({}, {"decay": 0.05}, {"decay": 0.05, "epochs": 2}, seeds=1, epochs=20, noise=0.0))
    assert result["settled"].tolist() == [False, True, False]


def test_runs_with_weight_decay_are_not_used_for_the_law():
    slopes = phase_slopes(table({"eta": 0.05}, {"eta": 0.1}, {"decay": 0.01, "eta": 0.2}))
    assert set(settings_of_law(slopes)["eta"]["eta"]) == {0.05, 0.1}
    assert constant_spread(slopes)["runs"] == 4
    assert constant_spread(slopes.assign(weight_decay=np.nan))["runs"] == 6  # a missing decay is 0
    assert constant_spread(slopes[slopes["weight_decay"] > 0]) == {}


def test_means_stop_where_the_first_seed_stops():
    rows = layer_rows(table({}, {"eta": 0.2}, seeds=3))
    short = rows[~((rows["directory"] == "0 1") & (rows["epoch"] > 4))]
    means = mean_curves(short, ["J2", "test/loss", "nothing"])
    assert means.groupby("configuration")["epoch"].max().to_dict() == {"0": 4, "1": 10}
    one = rows[(rows["configuration"] == "0") & (rows["epoch"] == 3)]["J2"]
    [result] = means[(means["configuration"] == "0") & (means["epoch"] == 3)].to_dict("records")
    assert (result["J2"], result["J2_error"]) == pytest.approx((one.mean(), sem(one)))
    assert (result["runs"], result["eta"]) == (3, 0.1)
    assert means["nothing"].isna().all()
