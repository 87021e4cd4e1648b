import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from src.jobs.command_line import run
from src.jobs.composed import plain

CONF = Path(__file__).parents[2] / "conf"
SMALL = (  # 1293 digits in batches of 128: 11 steps an epoch
    "model.depth=3",
    "model.width=16",
    "datamodule.batch_size=128",
    "trainer.max_epochs=3",
    "trainer.enable_progress_bar=false",
    "logger=csv",
)


@pytest.fixture
def config():
    """Compose the train config from overrides on a small net, as plain data."""

    def composed(*overrides: str) -> dict:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            chosen = next((each for each in overrides if each.startswith("model=")), "")
            small = SMALL[{"model=residual": 1, "model=tanh_layer": 2}.get(chosen, 0) :]  # no depth; nor a width
            return plain(compose("train", [*small, *overrides]))

    return composed


@pytest.fixture
def shell(tmp_path, capfd, monkeypatch) -> Callable[..., tuple[int, list[str], list[str]]]:
    """Call a script's main as the shell would, in tmp_path: its exit status, and its lines on stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # as a script, which finds conf/ beside itself

    def call(script: Path, main: Callable[[], object], *arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        status = 0
        try:
            run(main)
        except SystemExit as end:
            status = end.code
        output, errors = capfd.readouterr()
        return status, output.splitlines(), errors.splitlines()

    return call
