"""Drawing of sweeps that recorded phases: printed slopes and exponents, the JSON file, and missing runs."""

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
    """Four learning rates and two seeds; with the largest rate J² grows too fast for a slope."""
    sweep = tmp_path_factory.mktemp("whole") / "sweep"
    for eta in (0.02, 0.04, 0.08, 1.0):
        for seed in (0, 1):
            leave_phases(sweep, seed, eta=eta, epochs=12, noise=0.002, past=0.5)
    return sweep


@pytest.fixture
def sweep(whole_sweep, tmp_path) -> Path:
    return shutil.copytree(whole_sweep, tmp_path / "sweep")


def test_any_sweep_is_drawn_with_slopes_exponents_and_constant(sweep, shell, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    status, output, errors = shell("draw", "phase", str(sweep), "--by", "eta", "--wandb")
    assert (status, errors) == (0, [])
    files = [f"phase.{kind}" for kind in ("png", "pdf", "csv", "parquet", "json")]
    assert output[-1] == "figure: " + ", ".join(f"sweep/{name}" for name in files)
    results = answer(sweep, "phase")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output if line.startswith("│")]
    slopes, ends = rows[:4], rows[4:]
    assert [row[:2] for row in slopes] == [["η 0.02", "2"], ["η 0.04", "2"], ["η 0.08", "2"], ["η 1", "0 of 2"]]
    second = results["configurations"][1]
    assert [float(slopes[1][at]) for at in (2, 5)] == pytest.approx([second["slope"], second["constant"]], rel=1e-3)
    assert slopes[3][2:] == ["—"] * 4
    end = [results["configurations"][3][name] for name in ("edge_epoch", "lowest_loss", "lowest_epoch", "lowest_J")]
    assert [float(cell) for cell in ends[3][1:5]] == pytest.approx(end, rel=1e-2)
    exponent = results["exponents"]["eta"]
    assert exponent["low"] < 1 < exponent["high"]
    text = f"p = {exponent['value']:.3f} [{exponent['low']:.3f}, {exponent['high']:.3f}], 3 values"
    assert f"exponent of η: {text}" in output
    assert [
        line for line in output if line.startswith(f"A (1 − α) B / η: mean {results['constant']['mean']:.4g} per epoch")
    ]
    assert results["constant"]["mean"] == pytest.approx(CONSTANT, rel=0.05)
    assert "no slope: J² reached 1 before the window had 3 epochs: η 1 α 0 B 32 (2)" in output
    mirrored = logged(records(sweep))
    assert {"phase", "phases", "slopes"} <= {key.split(".")[0] for key in mirrored}
    assert mirrored["slopes.nrows"] == 4


def test_the_spread_of_curves_is_printed_for_the_figure_of_collapse(sweep, capsys):
    for seed in (0, 1):
        leave_phases(sweep, seed, eta=0.04, alpha=0.5, epochs=12, noise=0.002, past=1.0)
    draw_sweep(sweep, node("collapse"), name="collapse")
    out = capsys.readouterr().out
    assert "spread of J²: in the ordered phase " in out
    assert "spread of growth of J²: in the ordered phase " in out
    results = pd.DataFrame(answer(sweep, "collapse")["collapse"])
    assert {"J2", "test/loss", "test/accuracy", "growth"} == set(results["quantity"]) and results["error"].notna().all()


def test_lambda_star_is_printed_for_a_sweep_of_weight_decays(tmp_path, capsys):
    for decay in (0.0, 1e-3, 1e-2):
        for seed in (0, 1):
            leave_phases(tmp_path / "decays", seed, decay=decay, epochs=10, noise=0.002)
    draw_sweep(tmp_path / "decays", node("weight_decay"), name="decays")
    results = answer(tmp_path / "decays", "decays")
    [edge] = results["edge_decay"].values()
    assert edge["lambda"] == pytest.approx(EDGE, rel=0.05)
    assert edge["weight_decay"] == 2 * edge["lambda"]
    assert results["constant"]["runs"] == 2  # the runs without weight decay
    assert f"λ* = {edge['lambda']:.3g} ± " in capsys.readouterr().out


def test_a_fit_in_the_fast_first_part_of_training_is_warned_about(tmp_path, capsys):
    for eta, batch, fast in ((0.01, 512, 0.05), (0.05, 32, 0.0)):
        leave_phases(tmp_path / "early", eta=eta, batch=batch, epochs=12, fast=fast)
    draw_sweep(tmp_path / "early", node("phase_slope"), name="early")
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and warnings[0].startswith("warning: η 0.01, B 512: the growth of J² must be linear up")
    assert "the fit lies in the fast first part of training" in warnings[0]
    early = answer(tmp_path / "early", "early")["configurations"][0]
    assert early["bent"] == 0 and early["constant"] > 2 * CONSTANT  # within the window the line fits
    draw_sweep(tmp_path / "early", node("phase_slope", window=[6, 12]), name="early")
    assert "warning: " not in capsys.readouterr().out  # the user has chosen it


def test_runs_without_phases_are_listed_and_a_sweep_without_any_is_an_error(sweep, shell):
    leave_phases(sweep, 2, rows=False, status="failed")
    output = shell("draw", "phase_trajectory", str(sweep))[1]
    assert [line for line in output if line.startswith("missing: ") and line.endswith("seed=2: failed")]
    leave_phases(sweep.parent / "none", rows=False)
    status, _, errors = shell("draw", "phase", str(sweep.parent / "none"))
    assert status == 1
    assert "none of its jobs (1 completed) has recorded the phase of a layer; train with callbacks=phase" in errors[0]
    assert figure_node("phase_trajectory") == {
        "_target_": "start_training.figures.phase_trajectory.draw_phase_trajectory"
    }
