"""How well curves lie on each other: those of the law in rescaled time only, and up to the edge those that leave it."""

import numpy as np
import pandas as pd
import pytest

from src.runs.collapse import collapse, scaling_group, spread_in_time
from src.runs.phase_curves import watched
from tests.runs.test_phase_slopes import table

NOISE = 0.002
# As long in rescaled time; the first two have one scaling variable.
RUNS = ({"epochs": 16}, {"eta": 0.05, "batch": 16, "epochs": 16}, {"eta": 0.05, "epochs": 32})


def spreads(*runs: dict, seeds: int = 4, noise: float = NOISE, **common) -> "pd.Series[float]":
    found = collapse(watched(table(*(runs or RUNS), seeds=seeds, noise=noise, **common)))
    return found.set_index(["runs", "time", "quantity", "phase"])


def test_curves_of_the_law_differ_at_equal_epochs_and_in_rescaled_time_by_their_noise_alone():
    found = spreads()["spread"]
    for phase in ("ordered", "past"):
        assert found[("all", "epoch", "J2", phase)] > 0.15
        assert found[("all", "rescaled", "J2", phase)] < 2 * NOISE
        assert found[("equal", "epoch", "J2", phase)] < 2 * NOISE
        assert found[("all", "epoch", "growth", phase)] == pytest.approx(
            np.std([1, 1, 0.5], ddof=1) / (2.5 / 3), abs=0.01
        )
        assert found[("all", "rescaled", "growth", phase)] < 0.02


def test_a_law_that_breaks_past_the_edge_is_seen_there_and_nowhere_else():
    broken = [run | {"past": past} for run, past in zip(RUNS, (1.0, 0.5, 1.5), strict=True)]
    found, noise = spreads(*broken)["spread"], spreads(*broken)["noise"]
    assert found[("all", "rescaled", "J2", "ordered")] < 3 * noise[("all", "rescaled", "J2", "ordered")]
    assert found[("all", "rescaled", "J2", "past")] > 0.1
    assert found[("all", "rescaled", "growth", "past")] == pytest.approx(0.5, abs=0.05)  # sd of 0.5, 1, 1.5
    assert found[("equal", "epoch", "J2", "ordered")] < 3 * NOISE
    assert found[("equal", "epoch", "J2", "past")] > 0.1
    in_time = spread_in_time(watched(table(*broken, seeds=2, noise=0.0)), "rescaled", "J2")
    edge = in_time["time"][in_time["mean"] >= 1].min()
    assert in_time["spread"][in_time["time"] < 0.9 * edge].max() < 1e-9
    assert in_time["spread"].iloc[-1] == in_time["spread"].max() > 0.1


def test_another_power_of_the_scaling_variable_does_not_collapse_even_in_the_ordered_phase():
    found = spreads(power=0.5)["spread"]
    assert found[("all", "rescaled", "J2", "ordered")] > 20 * NOISE
    assert found[("equal", "epoch", "J2", "ordered")] < 2 * NOISE


def test_the_spread_is_the_mean_over_seeds_of_what_one_seed_shows():
    rows = watched(table(*RUNS, seeds=3, noise=0.01))
    every = collapse(rows).set_index(["runs", "time", "quantity", "phase"])
    key = ("all", "rescaled", "J2", "past")
    alone = [collapse(rows[rows["seed"] == seed]).set_index(every.index.names).loc[key] for seed in range(3)]
    # Each seed by itself is split in phases by its own mean curve, so the same up to a point in time.
    one = np.array([found["spread"] for found in alone])
    assert every.loc[key, "spread"] == pytest.approx(one.mean(), rel=0.05)
    assert every.loc[key, "error"] == pytest.approx(one.std(ddof=1) / 3**0.5, rel=0.3)
    assert [found[["seeds", "curves"]].tolist() for found in alone] == [[1, 3]] * 3
    assert all(np.isnan(found["error"]) and np.isnan(found["noise"]) for found in alone)


def test_only_times_that_all_curves_have_and_seeds_that_all_configurations_have_count():
    rows = watched(table({"epochs": 10}, {"eta": 0.05, "epochs": 14}, seeds=3))
    fewer = rows[~((rows["configuration"] == "1") & (rows["seed"] == 2))]
    found = collapse(fewer)
    assert set(found["seeds"]) == {2}
    epochs = found[(found["time"] == "epoch") & (found["quantity"] == "J2")]
    assert (epochs["start"].min(), epochs["end"].max()) == (1, 10)
    rescaled = found[(found["time"] == "rescaled") & (found["quantity"] == "J2")]
    assert rescaled["start"].min() == pytest.approx(0.1 / 32)  # the first test of the faster
    assert rescaled["end"].max() == pytest.approx(14 * 0.05 / 32)
    assert "equal" not in set(found["runs"])


@pytest.mark.parametrize("runs", [({},), ({"epochs": 2}, {"eta": 0.005, "epochs": 2})])
def test_where_there_is_nothing_to_compare_in_rescaled_time_there_is_no_row(runs):
    found = collapse(watched(table(*runs)))
    assert not (found["time"] == "rescaled").any()
    assert {"spread", "phase", "quantity"} <= set(found)


def test_scaling_variables_that_differ_by_rounding_are_one():
    rows = watched(table({"eta": 0.1}, {"eta": 0.1 * (1 + 1e-12)}, {"eta": 0.11}))
    groups = scaling_group(rows)
    assert groups.nunique() == 2
    assert groups[rows["configuration"] == "0"].iloc[0] == groups[rows["configuration"] == "1"].iloc[0]


def test_what_was_not_tested_is_compared_by_J2_alone():
    rows = watched(table(*RUNS).drop(columns=["test/loss", "test/accuracy"]))
    assert set(collapse(rows)["quantity"]) == {"J2", "growth"}
