"""Phase diagrams: what one leaves, that it can be cut off and continued, and what is said of mistakes."""

import json
import os
import re
import signal

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from scripts.phase_diagram import main
from src.jobs import phase_diagram as phase_diagram_module
from src.order_chaos.asymptotic_distance import asymptotic_distances
from src.order_chaos.random_layer import draw_layer
from src.theory.edge_of_chaos import boundary, chi
from tests.jobs.conftest import CONF
from tests.jobs.test_wandb import logged, records

SCRIPT = CONF.parent / "scripts" / "phase_diagram.py"
TINY = (
    "N=40", "matrices=3", "iterations=60", "average=10", "J0_over_J.bins=12", "inverse_J.bins=8",
    "finite_size.N=[40,10,20]", "finite_size.matrices=2", "finite_size.iterations=60", "finite_size.inverse_J.bins=7",
    "progress=false", "hydra.run.dir=here",
)  # fmt: skip
QUICK = (*TINY, "logger=csv")


@pytest.fixture
def attempt(shell):
    """Call the script as the shell would: its exit status, and its lines on stdout and stderr."""
    return lambda *arguments: shell(SCRIPT, main, *arguments)


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[int, int]]:
    """N and number of each matrix that was drawn."""
    layers: list[tuple[int, int]] = []

    def noted(N, *, number, **settings):
        layers.append((N, number))
        return draw_layer(N, number=number, **settings)

    monkeypatch.setattr(phase_diagram_module, "draw_layer", noted)
    return layers


def test_a_diagram_leaves_tables_figures_and_what_agrees(attempt, tmp_path):
    status, output, errors = attempt(*QUICK)
    assert (status, errors) == (0, [])
    here, summary = tmp_path / "here", json.loads((tmp_path / "here/summary.json").read_text())
    for name in ("phase_diagram", "finite_size"):
        assert matplotlib.image.imread(here / f"figures/{name}.png").std() > 0
        assert (here / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f"figure: here/figures/{name}.png" in output
    tanh = pd.read_parquet(here / "diagram_tanh.parquet")
    assert len(tanh) == 96
    np.testing.assert_allclose(tanh["J"] * tanh["inverse_J"], 1)
    np.testing.assert_allclose(tanh["J0"], tanh["J0_over_J"] * tanh["J"])
    np.testing.assert_allclose(tanh["chi_theory"], chi(tanh["J0"], tanh["J"]))
    edge = pd.read_csv(here / "boundary.csv")
    np.testing.assert_allclose(edge["inverse_J_theory"], boundary(edge["J0_over_J"]))
    deviation = (edge["inverse_J_simulated"] - edge["inverse_J_theory"]).mean()
    assert summary["tanh"]["boundary_deviation"] == pytest.approx(deviation)
    assert output[0].startswith(f"tanh: the edge lies {deviation:+.3f} ± ")
    alike = ((tanh["distance"] > 0.01) == (tanh["chi_theory"] > 1)).mean()
    assert summary["tanh"]["judged_alike"] == pytest.approx(alike)
    assert 0.7 < alike < 1
    assert summary["relu"]["judged_alike"] > 0.7
    assert [row["N"] for row in summary["finite_size"]["transitions"]] == [10, 20, 40]
    assert (summary["status"], summary["N"], summary["matrices"]) == ("completed", 40, 3)


def test_the_diagram_is_the_mean_over_its_matrices(attempt, tmp_path):
    attempt(*QUICK)
    tanh = pd.read_parquet(tmp_path / "here/diagram_tanh.parquet")
    layers = (draw_layer(40, seed=0, number=number) for number in range(3))
    each = [
        np.concatenate(list(asymptotic_distances(layer, tanh["J0"], tanh["J"], iterations=60, average=10)))
        for layer in layers
    ]
    np.testing.assert_allclose(tanh["distance"], np.mean(each, 0), atol=1e-5)
    np.testing.assert_allclose(tanh["distance_error"], np.std(each, 0, ddof=1) / 3**0.5, atol=1e-5)


def test_relus_plane_is_one_row_repeated_and_its_norm_goes_with_J(attempt, tmp_path):
    attempt(*QUICK)
    relu = pd.read_parquet(tmp_path / "here/diagram_relu.parquet")
    growth, norm = (relu[name].to_numpy().reshape(8, 12) for name in ("growth", "norm_growth"))
    assert (growth == growth[0]).all()
    J = relu["J"].to_numpy().reshape(8, 12)
    np.testing.assert_allclose(norm - np.log(J), np.tile(norm[0] - np.log(J[0]), (8, 1)))


def test_the_same_command_reads_what_it_has_drawn(attempt, drawn):
    _, first, _ = attempt(*QUICK)
    assert drawn == [*[(40, n) for n in range(3)] * 2, *[(N, n) for N in (10, 20, 40) for n in range(2)]]
    drawn.clear()
    assert attempt(*QUICK) == (0, first, [])
    assert drawn == []


def test_ctrl_c_keeps_the_matrices_that_are_done(attempt, drawn, tmp_path, monkeypatch):
    whole = attempt(*QUICK, "hydra.run.dir=whole")[1]
    drawn.clear()
    growth = phase_diagram_module.relu_growth

    def interrupted(*arguments, **settings):
        if len(drawn) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return growth(*arguments, **settings)

    monkeypatch.setattr(phase_diagram_module, "relu_growth", interrupted)
    status, output, errors = attempt(*QUICK)
    said = "interrupted: the same command goes on from the matrices that are done"
    assert (status, output, errors) == (130, [], [said])
    assert not (tmp_path / "here/summary.json").exists()
    drawn.clear()
    status, output, errors = attempt(*QUICK)
    assert (status, errors) == (0, [])
    assert drawn[:2] == [(40, 1), (40, 2)]  # ReLU's others; tanh's are there
    for name in ("diagram_tanh.parquet", "diagram_relu.parquet"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "here" / name), pd.read_parquet(tmp_path / "whole" / name)
        )
    assert output[:2] == whole[:2]


def test_one_activation_one_matrix_and_no_finite_sizes(attempt, tmp_path):
    status, output, errors = attempt(*QUICK, "activations=[relu]", "matrices=1", "finite_size=null")
    assert (status, errors) == (0, [])
    assert [line.split()[0] for line in output] == ["ReLU:", "N", "figure:"]
    summary = json.loads((tmp_path / "here/summary.json").read_text())
    assert summary["relu"]["growth_deviation_error"] is None
    assert {"tanh", "finite_size"} & set(summary) == set()
    assert not (tmp_path / "here/figures/finite_size.png").exists()


def test_figures_and_small_tables_go_to_wandb(attempt, tmp_path):
    status, _, errors = attempt(*TINY)
    assert (status, errors) == (0, [])
    mirrored = logged(records(tmp_path / "here"))
    assert mirrored["phase_diagram._type"] == mirrored["finite_size._type"] == "image-file"
    rows = [mirrored[f"{name}.nrows"] for name in ("boundary", "finite_size_distances", "finite_size_transitions")]
    assert rows == [12, 21, 3]


def test_a_sweep_is_addressed_by_content(attempt, tmp_path):
    status, _, errors = attempt("-m", *QUICK[:-2], "logger=csv", "seed=0,1")
    assert (status, errors) == (0, [])
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "runs/phase_diagrams").glob("*/summary.json")]
    assert sorted(summary["seed"] for summary in summaries) == [0, 1]
    assert summaries[0]["tanh"] != summaries[1]["tanh"]


WHOLE = "must be a whole number of at least"
MISTAKES = [
    ("N=1", f"N = 1: {WHOLE} 2"),
    ("N=many", f"N = 'many': {WHOLE} 2"),
    ("matrices=0", f"matrices = 0: {WHOLE} 1"),
    ("average=0", f"average = 0: {WHOLE} 1"),
    ("iterations=9", f"iterations = 9: {WHOLE} 10"),
    ("seed=-1", f"seed = -1: {WHOLE} 0"),
    ("inverse_J.low=-1", "inverse_J.low = -1: must be at least 0"),
    ("inverse_J.high=0", "inverse_J.high = 0: must be above inverse_J.low = 0"),
    ("inverse_J.bins=0", f"inverse_J.bins = 0: {WHOLE} 1"),
    ("J0_over_J.low=2", "J0_over_J.high = 2: must be above J0_over_J.low = 2"),
    ("J0_over_J.high=inf", "J0_over_J.high = inf: must be a number"),
    ("~J0_over_J.bins", "J0_over_J = {'low': -1, 'high': 2}: must have low, high and bins"),
    ("activations=[gelu]", "activations = 'gelu': must be one of relu, tanh"),
    ("activations=[]", "activations = []: must be a list of at least one"),
    ("finite_size.N=100", "finite_size.N = 100: must be a list of at least one"),
    ("finite_size.N=[1]", f"finite_size.N = 1: {WHOLE} 2"),
    ("finite_size.matrices=0", f"finite_size.matrices = 0: {WHOLE} 1"),
    ("finite_size.inverse_J.low=-0.1", "finite_size.inverse_J.low = -0.1: must be at least 0"),
    ("finite_size=3", "finite_size = 3: must be null, or have N, matrices, iterations, inverse_J"),
    ("device=mps", "device = 'mps': must be one of cpu, cuda"),
    ("size=large", "size = 'large': must be one of full, small"),
    ("units=10", "units = 10: no such key; there are "),
]  # fmt: skip


@pytest.mark.parametrize("typed, said", MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_one_line_and_leaves_the_directory_to_what_was_meant(typed, said, attempt, tmp_path):
    quick = [each for each in QUICK if each.partition("=")[0] != typed.lstrip("~").partition("=")[0]]
    status, output, errors = attempt(*quick, typed)
    assert (status, output) == (1, [])
    [line] = errors
    assert line.startswith(f"error: {said}")
    assert not (tmp_path / "here" / "config.yaml").exists()


def test_a_gpu_that_is_not_there_is_a_mistake(attempt, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    status, _, errors = attempt(*QUICK, "device=cuda")
    assert (status, errors) == (1, ["error: device = 'cuda': this machine has no GPU; cpu does without"])


def test_the_config_is_a_lab_record_whose_command_is_the_script():
    head = [line for line in (CONF / "phase_diagram.yaml").read_text().splitlines() if line.startswith("# ")]
    record = dict(named.groups() for line in head if (named := re.match(r"# ([A-Z]\w+): (.*)", line)))
    assert list(record) == ["Claim", "Source", "Command", "Takes", "Expected"]
    assert record["Command"] == "uv run python scripts/phase_diagram.py"
