"""Errors of Hydra in one line."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from start_training.config.errors import error_message
from tests.small_runs import CONF


def test_a_plugin_with_the_name_of_a_config_of_this_project_is_named():
    text = "'hydra/sweeper/optuna' is validated against ConfigStore schema with the same name.\nThis behavior is"
    message = error_message(ConfigCompositionException(text))
    assert message.startswith("hydra/sweeper = optuna: an installed plugin of Hydra has the same name")


@pytest.mark.parametrize(
    ("script", "word", "message"),
    [
        (
            "train",
            "callbacks.start_of_training.stop=true",
            "must be one of lengths, or type callbacks=start_of_training as well, which has this key",
        ),
        ("train", "model.widht=3", "must be one of activation, depth, dropout, width, widths, or type +model.widht=3"),
        ("diagnose", "optimiser=sgd", ", nets, optimizer, out, "),
        ("train", "hydra.swep=3", ", sweep, sweeper, verbose, or type +hydra.swep=3 to add it"),
    ],
)
def test_an_unknown_key_is_named_with_the_keys_and_options_that_were_meant(script, word, message):
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(ConfigCompositionException) as raised:
        compose(script, [word])
    said = error_message(raised.value)
    assert said.startswith(f"{word.replace('=', ' = ')}: no such key; ") and message in said


def test_an_option_of_the_users_own_needs_its_config_dir(tmp_path, monkeypatch):
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "mine.yaml").write_text("_target_: torch.nn.Identity")
    monkeypatch.chdir(tmp_path)
    for option, hint in {"mine": "; my_conf/model/mine.yaml needs --config-dir my_conf", "other": ""}.items():
        with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(ConfigCompositionException) as raised:
            compose("train", [f"model={option}"])
        assert error_message(raised.value).endswith(f"tanh_layer{hint}")
