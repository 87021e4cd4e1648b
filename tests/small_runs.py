"""Small nets to train: their configs, finished runs that all tests share, and commands called as a shell would.

conftest.py imports this for every test, so what is slow to import is imported where it is used.
"""

import json
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CONF = Path(__file__).parents[1] / "conf"
SMALL = (  # 1293 digits in batches of 128: 11 steps an epoch
    "model.depth=3",
    "model.width=16",
    "datamodule.batch_size=128",
    "trainer.max_epochs=3",
    "trainer.enable_progress_bar=false",
    "logger=csv",
)
TRAIN = {"cli", "config", "launchers", "replicas", "reports", "studies", "training"}  # folders whose tests train


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir

    from start_training.config.composed import plain

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", list(overrides)))


def composed(*overrides: str) -> dict[str, Any]:
    """The train config of these overrides on a small net, as plain data."""
    chosen = next((override for override in overrides if override.startswith("model=")), "")
    small = SMALL[{"model=residual": 1, "model=tanh_layer": 2}.get(chosen, 0) :]  # no depth; nor a width
    return deepcopy(_composed(*small, *overrides))


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    return composed


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The directory of a finished run of these overrides, trained once for all tests, which read it and no more."""

    from start_training.runs.job import Job
    from start_training.training.train import train

    @cache
    def directory(*overrides: str) -> Path:
        path = tmp_path_factory.mktemp("trained") / "run"
        train(Job(composed(*overrides), path))
        return path

    return directory


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    """The directories of runs of these configs, each trained by itself once for all tests, which read it."""
    from start_training.runs.job import Job
    from start_training.training.train import train

    runs: dict[str, Path] = {}

    def directories(configs: Sequence[dict[str, Any]]) -> list[Path]:
        for config in configs:
            if (key := json.dumps(config, sort_keys=True)) not in runs:
                path = tmp_path_factory.mktemp("alone") / "run"
                train(Job(config, path, sweep="a-sweep"))
                runs[key] = path
        return [runs[json.dumps(config, sort_keys=True)] for config in configs]

    return directories


@pytest.fixture(autouse=True)
def without_run_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's figures take longer to draw than these nets to train: only tests marked `figure` have them drawn."""
    if request.path.parent.name in TRAIN and "figure" not in request.keywords:
        from matplotlib.figure import Figure

        monkeypatch.setattr(
            "start_training.reports.run_report.figures", lambda *_: {"lengths": Figure(figsize=(0.1, 0.1))}
        )


@pytest.fixture
def shell(tmp_path, capfd, monkeypatch) -> Callable[..., tuple[int, list[str], list[str]]]:
    """Call a command as the shell would, in tmp_path: its exit status, and its lines on stdout and stderr."""
    from start_training.cli.commands import main

    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", [str(CONF.parent / "scripts" / f"{command}.py"), *arguments])
        status = 0
        try:
            main(command)
        except SystemExit as end:
            status = end.code
        output, errors = capfd.readouterr()
        return status, output.splitlines(), errors.splitlines()

    return call
