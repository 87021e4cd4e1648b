"""The inputs of a simulation: drawn by its seed, and part of its identity; and what its printed theory supposes."""

import pytest
import torch
import yaml
from omegaconf import DictConfig

from start_training.config.composed import plain
from start_training.runs.config_hash import config_hash
from start_training.runs.job import Job
from start_training.settings import settings_from
from start_training.studies.simulate import SIMULATE, SimulationSettings, build_ensemble
from tests.composing import QUICK, composed_of, start

SMALLEST = QUICK["simulate"]


@pytest.mark.parametrize("data", ["random_inputs", "digits"])
def test_the_seed_draws_the_inputs_of_each_net(data):
    def inputs(seed):
        config = plain(composed_of("simulate", f"datamodule={data}", f"seed={seed}"))
        return build_ensemble(settings_from(SimulationSettings, config), config)[0].inputs_of(range(30))

    assert torch.equal(inputs(0), inputs(0))
    assert not torch.equal(inputs(0), inputs(1))
    assert len(inputs(0).flatten(1).unique(dim=0)) > 25


def test_a_simulation_whose_nets_shared_inputs_is_another_one(shell, tmp_path):
    file = start("simulate", tmp_path / "run") / "config.yaml"
    config = yaml.safe_load(file.read_text())
    earlier = {key: value for key, value in config.items() if key != "inputs"}
    assert config_hash(config) != config_hash(earlier)
    file.write_text(yaml.safe_dump(earlier))
    message = 'already holds a run of another config (inputs: existing not set, new "fresh"); choose another directory'
    assert shell("simulate", *SMALLEST, "hydra.run.dir=run")[2] == [f"error: hydra.run.dir = {tmp_path}/run: {message}"]
    with pytest.raises(ValueError, match="inputs: must be set"):
        SIMULATE.carry_out(Job(earlier, tmp_path / "again", overrides=SMALLEST), DictConfig(earlier))


def test_the_table_says_what_its_predictions_suppose(shell):
    words = ("model=residual", "model.modules=2", "model.width=8", "nets=20", "progress=false", "logger=csv")
    head = shell("simulate", *words)[1][2:5]
    assert [line.split("┃")[5].strip() for line in head] == ["theory", "(wide", "limit)"]
    head = shell("simulate", *words, "model.ending=linear")[1][2:4]
    assert head[0].split("┃")[5].strip() == "theory" and head[1].startswith("┡")
