"""The phase_diagram command: its output files, its agreement with theory, and resuming it."""

import json
import os
import shutil
import signal
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from start_training.order_chaos.asymptotic_distance import asymptotic_distances
from start_training.order_chaos.random_layer import draw_layer
from start_training.studies.phase_diagram import phase_diagram as phase_diagram_module
from start_training.theory.edge_of_chaos import boundary
from tests.composing import QUICK, start
from tests.wandb_records import logged, records

WORDS = (*QUICK["phase_diagram"], "hydra.run.dir=here")


@pytest.fixture(scope="module")
def diagram(tmp_path_factory) -> Path:
    """The directory of a finished phase diagram."""
    return start("phase_diagram", tmp_path_factory.mktemp("diagram") / "here")


def summary(directory: Path) -> dict:
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[int, int]]:
    """N and index of each random matrix that was drawn."""
    layers: list[tuple[int, int]] = []

    def recorded(N, *, number, **settings):
        layers.append((N, number))
        return draw_layer(N, number=number, **settings)

    monkeypatch.setattr(phase_diagram_module, "draw_layer", recorded)
    return layers


def test_a_phase_diagram_writes_figures_tables_and_its_agreement_with_theory(diagram):
    numbers = summary(diagram)
    for name in ("phase_diagram", "finite_size"):
        assert matplotlib.image.imread(diagram / f"figures/{name}.png").std() > 0
    tanh = pd.read_parquet(diagram / "diagram_tanh.parquet")
    edge = pd.read_csv(diagram / "boundary.csv")
    np.testing.assert_allclose(edge["inverse_J_theory"], boundary(edge["J0_over_J"]))
    deviation = edge["inverse_J_simulated"] - edge["inverse_J_theory"]
    assert numbers["tanh"]["boundary_deviation"] == pytest.approx(deviation.mean())
    assert numbers["tanh"]["boundary_deviation_rms"] == pytest.approx(np.sqrt((deviation**2).mean()))
    alike = ((tanh["distance"] > 0.01) == (tanh["chi_theory"] > 1)).mean()
    assert numbers["tanh"]["judged_alike"] == pytest.approx(alike)
    assert 0.7 < alike < 1
    assert numbers["relu"]["judged_alike"] > 0.7
    assert [row["N"] for row in numbers["finite_size"]["transitions"]] == [10, 20, 40]
    assert (numbers["status"], numbers["N"], numbers["matrices"]) == ("completed", 40, 3)


def test_the_diagram_is_the_mean_over_its_matrices(diagram):
    tanh = pd.read_parquet(diagram / "diagram_tanh.parquet")
    layers = (draw_layer(40, seed=0, number=number) for number in range(3))
    settings = {"iterations": 60, "average": 10}
    distances = [np.concatenate([*asymptotic_distances(layer, tanh["J0"], tanh["J"], **settings)]) for layer in layers]
    np.testing.assert_allclose(tanh["distance"], np.mean(distances, 0), atol=1e-5)
    np.testing.assert_allclose(tanh["distance_error"], stats.sem(distances), atol=1e-5)


def test_a_finished_phase_diagram_is_reported_again_without_drawing_a_matrix(diagram, shell, drawn, tmp_path):
    shutil.copytree(diagram, tmp_path / "here")
    status, output, errors = shell("phase_diagram", *WORDS)
    assert (status, errors, drawn) == (0, [], [])
    tanh = summary(diagram)["tanh"]
    assert output[0].startswith(
        f"tanh: 1/J of the simulated edge minus that for N → ∞ is {tanh['boundary_deviation']:+.3f} ± "
    )
    (tmp_path / "here/summary.json").unlink()
    start("phase_diagram", tmp_path / "here", "logger=wandb")
    assert drawn == []
    mirrored = logged(records(tmp_path / "here"))
    assert (mirrored["finite_size._type"], mirrored["boundary.nrows"]) == ("image-file", 12)


def test_after_ctrl_c_the_finished_matrices_are_kept(diagram, shell, drawn, tmp_path, monkeypatch):
    growth = phase_diagram_module.relu_growth

    def interrupted(*arguments, **settings):
        if len(drawn) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return growth(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(phase_diagram_module, "relu_growth", interrupted)
        status, output, errors = shell("phase_diagram", *WORDS)
    message = "interrupted: run the same command again to continue; finished matrices are kept"
    assert (status, output, errors) == (130, [], [message])
    assert not (tmp_path / "here/summary.json").exists()
    drawn.clear()
    start("phase_diagram", tmp_path / "here")
    assert drawn == [
        (40, 1),
        (40, 2),
        *[(N, n) for N in (10, 20, 40) for n in range(2)],
    ]  # the matrices of tanh are finished
    for name in ("diagram_tanh.parquet", "diagram_relu.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "here" / name), pd.read_parquet(diagram / name))


def test_jobs_of_a_multirun_may_have_one_matrix_and_one_activation(shell, tmp_path):
    words = ("activations=[relu]", "matrices=1", "finite_size=null", "seed=0,1")
    quick = [word for word in QUICK["phase_diagram"] if not word.startswith(("matrices", "finite_size"))]
    assert shell("phase_diagram", "-m", *quick, *words)[0] == 0
    summaries = tmp_path.glob("runs/phase_diagrams/*/summary.json")
    one, other = (json.loads(path.read_text()) for path in summaries)
    assert one["relu"] != other["relu"] and one["relu"]["growth_deviation_error"] is None
    assert {"tanh", "finite_size"} & set(one) == set()
