"""Phases and lengths of the same layers at the same steps, from the runs of a sweep to the words about its figure."""

import numpy as np
import pandas as pd
import pytest

from start_training.jobs.draw import draw_sweep
from start_training.jobs.growth_runs import GrowthRuns
from start_training.jobs.record import Job
from start_training.jobs.train import train
from start_training.runs.build import build_datamodule, build_net
from start_training.runs.sweep_curves import sweep_curves
from tests.jobs.composing import without_run_figures
from tests.jobs.conftest import composed

SETTINGS = ("callbacks=phase_and_lengths", "callbacks.phase.iterations=2", "trainer.max_epochs=1")
FIGURE = {"_target_": "start_training.figures.two_papers.draw_two_papers", "by": "initializer"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two seeds of a tanh net with biases, and its config; phases after steps 0, 4, 8 and 12, lengths up to 10."""
    directory = tmp_path_factory.mktemp("growth") / "sweep"
    settings = ("model.activation=tanh", "initializer=torch_default", "callbacks.phase.every_n_steps=4")
    configs = [composed(*SETTINGS, *settings, "callbacks.lengths.every_n_steps=2", f"seed={seed}") for seed in (0, 1)]
    with without_run_figures():
        for seed, config in enumerate(configs):
            train(Job(config, directory / str(seed), overrides=("initializer=torch_default", f"seed={seed}")))
    return directory, configs[0]


def test_each_layer_has_its_phase_and_the_lengths_before_and_after_it_at_that_step(sweep):
    directory, _ = sweep
    table = sweep_curves(directory, "growth")
    assert sorted(set(table["step"])) == [0, 4, 8]
    assert set(table["activation"]) == {"tanh"}
    for _, row in table.iterrows():
        lengths = pd.read_parquet(directory / row["directory"] / "lengths")
        at = lengths[lengths["step"] == row["step"]].set_index("layer")["mean"]
        assert row["length_before"] == at[row["layer"]]
        assert row["length"] == at[row["layer"] + 1]
    metrics = pd.read_csv(directory / "0" / "metrics.csv")["test/accuracy"].dropna()
    assert table[table["directory"] == "0"]["final_accuracy"].unique() == [metrics.iloc[-1]]


def test_at_initialization_they_are_those_of_the_net_that_the_config_draws(sweep):
    directory, config = sweep
    table = sweep_curves(directory, "growth")
    first = table[(table["directory"] == "0") & (table["step"] == 0)].sort_values("layer")
    net = build_net(config, build_datamodule(config))
    for (_, row), layer in zip(first.iterrows(), net.hidden, strict=True):
        weight, bias = layer.linear.weight.detach().double(), layer.linear.bias.detach().double()
        assert row["J2"] == pytest.approx(row["fan_in"] * weight.var(correction=0).item())
        assert row["bias_variance"] == pytest.approx(bias.var(correction=0).item())


def test_a_net_whose_measured_layers_are_others_is_left_out(config, tmp_path):
    modules = "callbacks.lengths.modules=[hidden.0.activation]"
    train(Job(config(*SETTINGS, modules), tmp_path / "sweep" / "one", overrides=[modules]))
    assert sweep_curves(tmp_path / "sweep", "growth").empty
    with pytest.raises(ValueError, match="no run has layers with phases and lengths, which callbacks=phase_and_length"):
        GrowthRuns(tmp_path / "sweep")


def test_the_figure_and_the_table_of_a_sweep(sweep, capsys):
    directory, _ = sweep
    files = draw_sweep(directory, FIGURE, name="growth")
    output = capsys.readouterr().out.splitlines()
    [last] = [line for line in output if "│    8 │" in line]
    drawn = pd.read_csv(next(file for file in files if file.suffix == ".csv"))
    of_last = drawn[(drawn["step"] == 8) & (drawn["layer"] >= 1)]
    growth = np.log(of_last["length"] / of_last["length_before"]).mean()
    assert f"{growth:+.2f} ±" in last
    assert f"{drawn.groupby('directory')['final_accuracy'].first().mean():.1%}" in last
