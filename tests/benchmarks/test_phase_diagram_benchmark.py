"""Tests of the benchmark `phase_diagram`: all methods do the same task; measured times are not tested."""

import json

import numpy as np
import pytest

from benchmarks import phase_diagram
from benchmarks.phase_diagram import COLUMNS, OURS, QUICK, ROWS, Size, distance_by_columns
from start_training.order_chaos.asymptotic_distance import asymptotic_distance_of_one
from start_training.order_chaos.random_layer import draw_layer


def test_states_as_columns_give_the_same_distances_as_states_as_rows():
    layer = draw_layer(50, seed=0, number=0)
    one, other = (
        way(layer, 0.5, 1.5, iterations=10, average=3) for way in (distance_by_columns, asymptotic_distance_of_one)
    )
    assert one == pytest.approx(other, rel=1e-2)


@pytest.mark.parametrize("seconds, met", [([0.024, 0.24], (True, True)), ([0.0241, 0.2409], (False, False))])
def test_goals_refer_to_the_full_size_diagram(seconds, met):
    ours, other = (np.full((10, 2), value) for value in seconds)
    rows = [phase_diagram.way_row(Size(), name, of_way, ours) for name, of_way in ((OURS, ours), (ROWS, other))]
    assert rows[0]["seconds_of_all"] == pytest.approx(15_000 * seconds[0])
    assert tuple(row["met"] for row in rows) == met
    assert rows[1]["over_ours"][0] == pytest.approx(seconds[1] / seconds[0])


def test_the_command_prints_and_writes_what_it_measured(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(phase_diagram, "QUICK", QUICK._replace(N=10, iterations=10))
    phase_diagram.main(["--quick", "--N", "12", "--out", str(tmp_path / "out.json")])
    assert "N = 12, 10 iterations" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    assert [row["way"] for row in rows] == [OURS, ROWS, COLUMNS]
    assert rows[0]["over_ours"] == [1, 1, 1]
    assert [row["goal"] for row in rows] == [None] * 3  # goals are only defined for the full size
    for name in ("N", "threads"):
        with pytest.raises(ValueError, match=f"^{name} = 0"):
            phase_diagram.main(["--quick", f"--{name}", "0"])
