"""Checks of the config of a study that trains runs and makes range tests, before anything is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from start_training.config.loggers import named_nodes
from start_training.config.mistakes import target_of
from start_training.launchers.process_tree import starts_processes
from start_training.runs.metrics_file import MetricsFile
from start_training.training.train import check_settings

Config = Mapping[str, Any]


def check_trials(config: Config) -> None:
    """Raise ValueError if the settings cannot be used for a run or a range test, or need several processes."""
    group = "range_tests" if "range_tests" in config else "callbacks"  # the guideline has no range tests
    callbacks, trainer = config.get(group), config["trainer"]
    if group == "range_tests" and not (isinstance(callbacks, Mapping) and "range_test" in callbacks):
        given = (", ".join(callbacks) if isinstance(callbacks, Mapping) else callbacks) or "none"
        raise ValueError(f"range_tests = {given}: must contain range_test; type callbacks@range_tests=range_test")
    loggers = dict(named_nodes(config, "logger"))
    if not any(target_of(node, f"logger.{name}") is MetricsFile for name, node in loggers.items()):
        given = ", ".join(loggers) or "none"
        raise ValueError(f"logger = {given}: must contain csv, whose metrics.csv this command reads; type logger=csv")
    if starts_processes(trainer):
        _refuse_processes(trainer)
    check_settings(config, group)


def check_epochs(config: Config, overrides: Sequence[str] = ()) -> None:
    """Raise ValueError if the config or an override limits the run, since the study sets the number of epochs."""
    for word in overrides:
        if word.lstrip("+").startswith("trainer.max_epochs="):
            value = word.partition("=")[2]
            raise ValueError(f"trainer.max_epochs = {value}: has no effect, this command chooses it; must be left out")
    if (steps := config["trainer"].get("max_steps", -1)) != -1:
        raise ValueError(f"trainer.max_steps = {steps!r}: must be -1, because this command limits its runs by epochs")


def _refuse_processes(trainer: Config) -> None:
    if trainer.get("devices") in (1, "auto"):
        strategy = trainer.get("strategy")
        raise ValueError(f"trainer.strategy = {strategy!r}: must be auto, because this command uses one process")
    raise ValueError(
        f"trainer.devices = {trainer.get('devices')!r}: must be 1 with strategy auto, because this command "
        "trains its runs in one process; type trainer=cpu or trainer=gpu"
    )
