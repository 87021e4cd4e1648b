"""Sweeps of phases collected and drawn: their slopes and exponents in words and as JSON, and what is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from start_training.reports.sweep_figure import draw_sweep, figure_node
from tests.analysis.made_phases import CONSTANT, leave_phases
from tests.analysis.test_decay_points import EDGE
from tests.wandb_records import logged, records

FIGURES = {
    "phase_slope": "draw_phase_slope",
    "scaling": "draw_scaling",
    "collapse": "draw_collapse",
    "weight_decay": "draw_weight_decay",
}


def node(name: str, **settings: Any) -> dict[str, Any]:
    return {"_target_": f"start_training.figures.{name}.{FIGURES[name]}", **settings}


def answer(sweep: Path, name: str) -> dict[str, Any]:
    return json.loads((sweep / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory) -> Path:
    """Four rates, the last too fast for a slope, two seeds."""
    sweep = tmp_path_factory.mktemp("whole") / "sweep"
    for eta in (0.02, 0.04, 0.08, 1.0):
        for seed in (0, 1):
            leave_phases(sweep, seed, eta=eta, epochs=12, noise=0.002, past=0.5)
    return sweep


@pytest.fixture
def sweep(whole_sweep, tmp_path) -> Path:
    return shutil.copytree(whole_sweep, tmp_path / "sweep")


def test_anyone_s_sweep_becomes_a_figure_a_table_of_slopes_and_what_the_law_says(sweep, shell, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    status, output, errors = shell("draw", "phase", str(sweep), "--by", "eta", "--wandb")
    assert (status, errors) == (0, [])
    files = [f"phase.{kind}" for kind in ("png", "pdf", "csv", "parquet", "json")]
    assert output[-1] == "figure: " + ", ".join(f"sweep/{name}" for name in files)
    found = answer(sweep, "phase")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output if line.startswith("│")]
    slopes, ends = rows[:4], rows[4:]
    assert [row[:2] for row in slopes] == [["η 0.02", "2"], ["η 0.04", "2"], ["η 0.08", "2"], ["η 1", "0 of 2"]]
    second = found["configurations"][1]
    assert [float(slopes[1][at]) for at in (2, 5)] == pytest.approx([second["slope"], second["constant"]], rel=1e-3)
    assert slopes[3][2:] == ["—"] * 4
    end = [found["configurations"][3][name] for name in ("edge_epoch", "lowest_loss", "lowest_epoch", "lowest_J")]
    assert [float(each) for each in ends[3][1:5]] == pytest.approx(end, rel=1e-2)
    exponent = found["exponents"]["eta"]
    assert exponent["low"] < 1 < exponent["high"]
    said = f"p = {exponent['value']:.3f} [{exponent['low']:.3f}, {exponent['high']:.3f}], 3 values"
    assert f"exponent of η: {said}" in output
    assert [line for line in output if line.startswith(f"A (1 − α) B / η: {found['constant']['mean']:.4g} per epoch")]
    assert found["constant"]["mean"] == pytest.approx(CONSTANT, rel=0.05)
    assert "no slope: at the edge before a window of 3 epochs: η 1 α 0 B 32 (2)" in output
    mirrored = logged(records(sweep))
    assert {"phase", "phases", "slopes"} <= {key.split(".")[0] for key in mirrored}
    assert mirrored["slopes.nrows"] == 4


def test_a_figure_of_collapse_says_its_spread(sweep, capsys):
    for seed in (0, 1):
        leave_phases(sweep, seed, eta=0.04, alpha=0.5, epochs=12, noise=0.002, past=1.0)
    draw_sweep(sweep, node("collapse"), name="collapse")
    out = capsys.readouterr().out
    assert "spread of J²: in the ordered phase " in out
    assert "spread of growth of J²: in the ordered phase " in out
    found = pd.DataFrame(answer(sweep, "collapse")["collapse"])
    assert {"J2", "test/loss", "test/accuracy", "growth"} == set(found["quantity"]) and found["error"].notna().all()


def test_a_sweep_of_weight_decays_says_which_settles_at_the_edge(tmp_path, capsys):
    for decay in (0.0, 1e-3, 1e-2):
        for seed in (0, 1):
            leave_phases(tmp_path / "decays", seed, decay=decay, epochs=10, noise=0.002)
    draw_sweep(tmp_path / "decays", node("weight_decay"), name="decays")
    found = answer(tmp_path / "decays", "decays")
    [edge] = found["edge_decay"].values()
    assert edge["lambda"] == pytest.approx(EDGE, rel=0.05)
    assert edge["weight_decay"] == 2 * edge["lambda"]
    assert found["constant"]["runs"] == 2  # those without
    assert f"λ* = {edge['lambda']:.3g} ± " in capsys.readouterr().out


def test_runs_without_phases_are_missing_and_a_sweep_without_any_is_named(sweep, shell):
    leave_phases(sweep, 2, rows=False, status="failed")
    output = shell("draw", "phase_trajectory", str(sweep))[1]
    assert [line for line in output if line.startswith("missing: ") and line.endswith("seed=2: failed")]
    leave_phases(sweep.parent / "none", rows=False)
    status, _, errors = shell("draw", "phase", str(sweep.parent / "none"))
    assert status == 1
    assert "no run has a layer's phase behind it, which callbacks=phase records (1 completed)" in errors[0]
    assert figure_node("phase_trajectory") == {
        "_target_": "start_training.figures.phase_trajectory.draw_phase_trajectory"
    }
