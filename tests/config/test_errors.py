"""Errors of Hydra in one line."""

from hydra.errors import ConfigCompositionException

from start_training.config.errors import error_message


def test_a_plugin_with_the_name_of_a_config_of_this_project_is_named():
    text = "'hydra/sweeper/optuna' is validated against ConfigStore schema with the same name.\nThis behavior is"
    message = error_message(ConfigCompositionException(text))
    assert message.startswith("hydra/sweeper = optuna: an installed plugin of Hydra has the same name")
