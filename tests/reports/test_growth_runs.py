"""Drawing of a sweep that recorded phases and lengths of the same layers, with its printed table."""

import numpy as np
import pandas as pd
import pytest

from start_training.reports.sweep_figure import draw_sweep
from start_training.runs.job import Job
from start_training.training.train import train
from tests.composing import without_run_figures
from tests.small_runs import composed

SETTINGS = ("callbacks=phase_and_lengths", "callbacks.phase.iterations=2", "trainer.max_epochs=1")
FIGURE = {"_target_": "start_training.figures.two_papers.draw_two_papers", "by": "initializer"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two seeds of a tanh net with biases; phases after steps 0, 4, 8 and 12, lengths up to 10."""
    directory = tmp_path_factory.mktemp("growth") / "sweep"
    settings = ("model.activation=tanh", "initializer=torch_default", "callbacks.phase.every_n_steps=4")
    configs = [composed(*SETTINGS, *settings, "callbacks.lengths.every_n_steps=2", f"seed={seed}") for seed in (0, 1)]
    with without_run_figures():
        for seed, config in enumerate(configs):
            train(Job(config, directory / str(seed), overrides=("initializer=torch_default", f"seed={seed}")))
    return directory


def test_the_figure_and_the_table_of_a_sweep(sweep, capsys):
    files = draw_sweep(sweep, FIGURE, name="growth")
    output = capsys.readouterr().out.splitlines()
    [last] = [line for line in output if "│    8 │" in line]
    drawn = pd.read_csv(next(file for file in files if file.suffix == ".csv"))
    of_last = drawn[(drawn["step"] == 8) & (drawn["layer"] >= 1)]
    growth = np.log(of_last["length"] / of_last["length_before"]).mean()
    assert f"{growth:+.2f} ±" in last
    assert f"{drawn.groupby('directory')['final_accuracy'].first().mean():.1%}" in last
