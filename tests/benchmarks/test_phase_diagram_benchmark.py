"""The benchmark of the phase diagram times the same job done in all ways; how long things take is not tested."""

import json

import numpy as np
import pytest

from src.benchmarks import phase_diagram
from src.benchmarks.phase_diagram import COLUMNS, OURS, QUICK, ROWS, Size, of_columns
from src.order_chaos.asymptotic_distance import asymptotic_distance_of_one
from src.order_chaos.random_layer import draw_layer

TINY = QUICK._replace(N=10, iterations=10)


def test_turns_share_out_the_whole_diagram():
    shares = QUICK.shares()
    assert [len(J) for _, J in shares] == [75, 75]
    J0, J = (np.concatenate(values) for values in zip(*shares, strict=True))
    assert len({*zip(J0, J, strict=True)}) == QUICK.points == 150
    np.testing.assert_allclose([J.min(), (J0 / J).min(), (J0 / J).max()], [1 / 1.9, -0.9, 1.9])
    assert (Size().points, Size().N, Size().iterations) == (15_000, 1000, 500)


def test_columns_are_the_same_job_as_rows():
    layer = draw_layer(50, seed=0, number=0)
    one, other = (way(layer, 0.5, 1.5, iterations=10, average=3) for way in (of_columns, asymptotic_distance_of_one))
    assert one == pytest.approx(other, rel=1e-2)


def test_each_way_has_its_row_and_ratios_are_over_ours():
    rows = {row["way"]: row for row in phase_diagram.measure(TINY)}
    assert list(rows) == [OURS, ROWS, COLUMNS]
    assert rows[OURS]["over_ours"] == [1, 1, 1]
    for row in rows.values():
        median, least, greatest = row["over_ours"]
        assert least <= median <= greatest
        assert row["goal"] is None  # of another size than the one it is set for


@pytest.mark.parametrize("seconds, met", [([0.02, 0.03], (True, True)), ([0.03, 0.29], (False, False))])
def test_goals_are_those_of_the_papers_diagram(seconds, met):
    ours, other = (np.full((10, 2), value) for value in (seconds[0], 0.25))
    rows = [phase_diagram._row(Size(), name, of_way, ours) for name, of_way in ((OURS, ours), (ROWS, other))]
    assert rows[0]["seconds_of_all"] == pytest.approx(15_000 * seconds[0])
    assert tuple(row["met"] for row in rows) == met
    assert rows[1]["over_ours"][0] == pytest.approx(0.25 / seconds[0])


def test_the_command_prints_and_writes_what_it_measured(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(phase_diagram, "QUICK", TINY)
    phase_diagram.main(["--quick", "--N", "12", "--out", str(tmp_path / "out.json")])
    assert "N = 12, 10 iterations" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert [row["way"] for row in written["results"]] == [OURS, ROWS, COLUMNS]


@pytest.mark.parametrize("typed", [["--N", "0"], ["--device", "mps"], ["--threads", "0"]])
def test_a_mistake_is_named(typed):
    with pytest.raises(ValueError, match=f"^{typed[0][2:]} = "):
        phase_diagram.main(["--quick", *typed])
