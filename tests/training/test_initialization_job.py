"""A job draws the weights of any net, and its summary says what it left."""

import json

import pytest
import torch

from start_training.config.build import build_datamodule, build_initialized, build_initializer, build_net
from start_training.initializers.weights import weights_of
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.train import train

UNKNOWN = {"model": {"_target_": "tests.unusual_nets.Unknown"}}
LAZY = {"model": {"_target_": "tests.unusual_nets.Lazy"}}


def test_lazy_layers_of_a_job_are_drawn_and_its_summary_says_what_was_left(config, tmp_path):
    settings = config("trainer.max_epochs=1", "callbacks=none") | LAZY
    built = [build_net({**settings, "seed": seed}, build_datamodule(settings)) for seed in (0, 0, 1)]
    first, again, other = (torch.cat([w.matrices().detach().flatten() for w in weights_of(net)]) for net in built)
    assert torch.equal(first, again) and not torch.equal(first, other)
    summary = train(Job(settings, tmp_path))
    assert summary == json.loads(RunDirectory(tmp_path).summary_file.read_text())
    left = "normalization (LayerNorm)"
    found = summary["initialization"]
    assert found["left"] == {"2.weight": left, "2.bias": left}
    assert list(found["not_as_asked"]) == ["4"] and "computed by SpectralNorm" in found["not_as_asked"]["4"]
    resumed = train(Job({**settings, "ckpt_path": str(RunDirectory(tmp_path).checkpoint)}, tmp_path / "resumed"))
    assert list(resumed["initialization"]["left"]) == ["*"]
    assert "loaded from" in resumed["initialization"]["left"]["*"]


def test_auto_mends_what_the_constructor_drew_and_says_so_and_a_resumed_run_keeps_its_weights(config, tmp_path):
    settings = config("initializer=auto", "model.depth=20", "trainer.max_epochs=1", "callbacks=none")
    summary = train(Job(settings, tmp_path / "run"))
    done = summary["initialization"]
    assert (done["changed"], done["before"], done["after"]) == (True, "UNHEALTHY", "HEALTHY")
    assert done["tried"] and summary["status"] == "completed"
    path = str(RunDirectory(tmp_path / "run").checkpoint)
    resumed = train(Job({**settings, "ckpt_path": path}, tmp_path / "resumed"))
    assert "changed" not in resumed["initialization"]
    other = config("initializer=auto", "initializer.seed=1", "model.depth=20", "trainer.max_epochs=1", "callbacks=none")
    assert config_hash(other) != config_hash(settings)


def test_auto_has_the_loss_of_the_task_and_no_other_settings_of_initializers(config, tmp_path):
    names = ["initializer=auto", "task=regression", "datamodule=friedman", "trainer.max_epochs=1", "callbacks=none"]
    own = {"task": {"_target_": "start_training.tasks.regression.Regression", "loss": {"_target_": "torch.nn.L1Loss"}}}
    loss = train(Job({**config(*names), **own}, tmp_path / "run"))["initialization"]["loss"]
    assert "Regression.loss" in loss, loss
    with pytest.raises(ValueError, match=r"^initialize.skip: not used with initializer=auto"):
        train(Job(config("initializer=auto", "initialize.skip=[0]", "callbacks=none"), tmp_path / "skip"))


def test_auto_is_a_setting_of_trainings_alone(config):
    with pytest.raises(ValueError, match=r"^initializer = auto: mends"):
        build_initializer(config("initializer=auto")["initializer"])(torch.empty(2, 2))


def test_the_summary_of_a_net_of_ones_own_has_no_entry_and_its_hash_is_that_of_before(trained, config):
    assert "initialization" not in RunDirectory(trained()).summary()
    settings = config()
    without = {key: value for key, value in settings.items() if key != "initialize"}
    assert config_hash(settings) == config_hash(without)
    assert config_hash(config("initialize.strict=true")) != config_hash(without)


@pytest.mark.filterwarnings("ignore:net = Unknown")
def test_a_job_whose_initializer_draws_nothing_but_the_readout_fails_in_one_line(config, tmp_path):
    with pytest.raises(
        ValueError, match=r"^initializer = VarianceScaling.*: must draw more than the readout of Unknown \(0.mixing: "
    ):
        train(Job(config() | UNKNOWN, tmp_path))
    assert RunDirectory(tmp_path).summary()["status"] == "failed"
    only = config("initialize.only=[2]") | UNKNOWN
    assert [drawn.name for drawn in build_initialized(only, build_datamodule(only))[1].drawn] == ["2"]


@pytest.mark.parametrize(
    "override, message",
    [
        ("initialize.strict=true", r"^net = Unknown: 86% of the weights that multiply are of unknown kinds"),
        ("initialize.skip=[3]", r"^initialize.skip = '3': must match the name of a weight; there are 2$"),
        ("initialize.skip=2", r"^initialize.skip = 2: must be a list of patterns"),
        ("initialize.strict=3", r"^initialize.strict = 3: must be"),
    ],
)
@pytest.mark.filterwarnings("ignore:net = Unknown")
def test_settings_of_the_initialization_are_checked(config, override, message):
    settings = config(override) | UNKNOWN
    with pytest.raises(ValueError, match=message):
        build_net(settings, build_datamodule(settings))
