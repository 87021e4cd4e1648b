"""Spread of curves: small in rescaled time for the scaling law, and up to the edge for a law that breaks there."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem, variation

from start_training.analysis.collapse import POINTS, collapse, scaling_group, spread_in_time
from start_training.analysis.phase_curves import layer_rows
from tests.analysis.test_phase_slopes import table

NOISE = 0.002
# All cover the same rescaled time; the first two have the same scaling variable.
RUNS = ({"epochs": 16}, {"eta": 0.05, "batch": 16, "epochs": 16}, {"eta": 0.05, "epochs": 32})
KEY = ["runs", "time", "quantity", "phase"]


def spreads(*runs: dict, seeds: int = 2, noise: float = NOISE, **common) -> pd.DataFrame:
    return collapse(layer_rows(table(*(runs or RUNS), seeds=seeds, noise=noise, **common))).set_index(KEY)


def proportional(factors: np.ndarray, scalings) -> pd.DataFrame:
    """Lines c · (0.2 + t / 10) with c of shape (configuration, seed), so that their relative spread is that of c."""
    curves = [
        pd.DataFrame({"directory": f"{number} {seed}", "configuration": str(number), "seed": seed,
                      "epoch": np.arange(13.0), "J2": c * (0.2 + np.arange(13) / 10), "scaling": scaling})
        for number, scaling in enumerate(scalings) for seed, c in enumerate(factors[number])
    ]  # fmt: skip
    rows = pd.concat(curves, ignore_index=True)
    return rows.assign(rescaled=rows["epoch"] * rows["scaling"])


def test_spread_error_and_noise_of_proportional_curves_agree_with_scipy():
    factors = np.random.default_rng(0).uniform(0.9, 1.1, (5, 3))
    result = collapse(proportional(factors, (0.1, 0.1, 0.2, 0.2 * (1 + 1e-12), 0.2))).set_index(KEY)
    of_seeds = variation(factors, axis=0, ddof=1)
    expected = {"spread": of_seeds.mean(), "error": sem(of_seeds)}
    expected |= {"noise": np.sqrt((variation(factors, axis=1, ddof=1) ** 2).mean()), "curves": 5, "seeds": 3}
    for key in [("all", "epoch", name, phase) for name in ("J2", "growth") for phase in ("ordered", "past")]:
        assert result.loc[key, list(expected)].to_dict() == pytest.approx(expected)
    groups = [variation(factors[group], axis=0, ddof=1) for group in (slice(2), slice(2, None))]
    s = np.array([group.mean() for group in groups])
    errors = s * [sem(group) for group in groups]  # errors of the groups, which add up in quadrature
    noises = [np.sqrt((variation(factors[group], axis=1, ddof=1) ** 2).mean()) for group in (slice(2), slice(2, None))]
    expected = {"spread": np.sqrt((s**2).mean()), "error": np.hypot(*errors) / 2 / np.sqrt((s**2).mean())}
    expected |= {"noise": np.sqrt(np.square(noises).mean()), "curves": 5, "seeds": 3}
    assert result.loc[("equal", "epoch", "J2", "past"), list(expected)].to_dict() == pytest.approx(expected)
    one = collapse(proportional(factors[:, :1], [0.1] * 5)).set_index(KEY).loc[("all", "epoch", "J2", "ordered")]
    assert one["spread"] == pytest.approx(of_seeds[0]) and np.isnan(one["error"]) and np.isnan(one["noise"])


def test_curves_of_the_law_differ_at_equal_epochs_and_only_by_noise_in_rescaled_time():
    result = spreads()["spread"]
    growth = variation([1, 1, 0.5], ddof=1)
    for phase in ("ordered", "past"):
        assert result[("all", "epoch", "J2", phase)] > 0.15
        assert result[("all", "rescaled", "J2", phase)] < 2 * NOISE
        assert result[("equal", "epoch", "J2", phase)] < 2 * NOISE
        assert result[("all", "epoch", "growth", phase)] == pytest.approx(growth, abs=0.01)
        assert result[("all", "rescaled", "growth", phase)] < 0.02
    other = spreads(power=0.5)["spread"]  # another power of the scaling variable does not collapse
    assert other[("all", "rescaled", "J2", "ordered")] > 20 * NOISE
    assert other[("equal", "epoch", "J2", "ordered")] < 2 * NOISE


def test_a_law_that_breaks_past_the_edge_has_a_spread_only_there():
    broken = [run | {"past": past} for run, past in zip(RUNS, (1.0, 0.5, 1.5), strict=True)]
    result = spreads(*broken)["spread"]
    assert result[("all", "rescaled", "J2", "ordered")] < 3 * NOISE
    assert result[("all", "rescaled", "J2", "past")] > 0.1
    assert result[("all", "rescaled", "growth", "past")] == pytest.approx(0.5, abs=0.05)  # sd of 0.5, 1, 1.5
    assert result[("equal", "epoch", "J2", "ordered")] < 3 * NOISE
    assert result[("equal", "epoch", "J2", "past")] > 0.1
    in_time = spread_in_time(layer_rows(table(*broken, seeds=2, noise=0.0)), "rescaled", "J2")
    edge = in_time["time"][in_time["mean"] >= 1].min()
    assert len(in_time) == POINTS
    assert in_time["spread"][in_time["time"] < 0.9 * edge].max() < 1e-9
    assert in_time["spread"].iloc[-1] == in_time["spread"].max() > 0.1


def test_only_common_times_and_common_seeds_are_compared():
    rows = layer_rows(table({"epochs": 10}, {"eta": 0.05, "epochs": 14}, seeds=3))
    result = collapse(rows[~((rows["configuration"] == "1") & (rows["seed"] == 2))])
    assert set(result["seeds"]) == {2}
    result = result[result["quantity"] == "J2"]
    ends = result.groupby("time").agg({"start": "min", "end": "max"})
    # In rescaled time: from the first measurement of the faster run to the end of the slower one.
    assert ends.to_numpy() == pytest.approx(np.array([[1, 10], [0.1 / 32, 14 * 0.05 / 32]]))
    assert "equal" not in set(result["runs"])


@pytest.mark.parametrize("runs", [({},), ({"epochs": 2}, {"eta": 0.005, "epochs": 2})])
def test_without_common_rescaled_times_there_are_no_rows(runs):
    rows = layer_rows(table(*runs))
    assert not (collapse(rows)["time"] == "rescaled").any()
    assert spread_in_time(rows, "rescaled", "J2").empty


def test_scaling_variables_that_differ_by_rounding_are_one_group():
    scalings = pd.Series([0.2, 0.1, 0.1 * (1 + 5e-7), 0.1 * (1 + 2e-6), 0.1])
    assert scaling_group(pd.DataFrame({"scaling": scalings})).tolist() == [0.2, 0.1, 0.1, 0.1 * (1 + 2e-6), 0.1]
