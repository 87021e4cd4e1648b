"""The README's commands run as they stand there, and its section on extending does what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests import forked

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PREFIX = "uv run python "
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for kind, block in BLOCKS
    for line in block.splitlines()
    if kind == "bash" and line.startswith(PREFIX) and "benchmark" not in line
]
PATHS = f".{os.pathsep}{ROOT}"
THREADS = str(os.cpu_count())  # as many as a user has
ENVIRONMENT = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": PATHS, "OMP_NUM_THREADS": THREADS}


def run(command: str, directory: Path) -> str:
    """What a script prints, as a fork: with no shell but for quotes and $PWD."""
    script, *arguments = shlex.split(command.replace("$PWD", str(directory)))
    finished = forked.run(script, *arguments, cwd=directory, env=ENVIRONMENT, timeout=600)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_readme_has_the_two_commands_and_names_every_script():
    assert COMMANDS[0] == "uv run python scripts/train.py"
    assert "uv run pytest" in README
    assert all(f"scripts/{script.name}" in README for script in ROOT.glob("scripts/*.py"))


@pytest.mark.slow
def test_the_first_command_trains_digits_to_95_percent_and_prints_its_table(tmp_path):
    """As a user starts it, in a fresh process."""
    command = [sys.executable, ROOT / COMMANDS[0].removeprefix(PREFIX)]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=True)
    accuracy = re.search(r"accuracy │ (\d+\.\d+)%", finished.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) >= 95
    assert all(word in finished.stdout for word in ("initial", "theory", "final", "hidden.9.activation"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_runs_in_the_order_of_the_page(tmp_path):
    for command in COMMANDS[1:]:
        if "experiment=" in command or "draw.py figure" in command:
            continue  # minutes each; tests/conf runs every experiment cut down, and draws it
        if "datamodule=mnist" in command and not Path(os.environ.get("DATA_DIR", "data"), "MNIST").is_dir():
            continue  # no MNIST here, and no network to download it from
        run(f"{ROOT}/{short(command.removeprefix(PREFIX))}", tmp_path)


def short(command: str) -> str:
    """An epoch where the page says nothing of epochs; a sweep's runs without W&B, which takes longer to start."""
    trains = command.startswith("scripts/train.py") and "trainer.max_epochs" not in command
    return command + " trainer.max_epochs=1" * trains + " logger=csv" * (" -m " in command)


def test_extending_works_as_the_readme_says_from_outside_the_repository(tmp_path):
    extend = README[README.index("## Extend") : README.index("## Several GPUs")]
    for _, block in re.findall(r"```(python|yaml)\n(.*?)```", extend, re.DOTALL):
        file = tmp_path / re.match(r"# (\S+)", block)[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    [command] = re.findall(r"```bash\n(.*?)```", extend, re.DOTALL)
    variables, command = command.strip().split("python path/to/")
    assert variables == "PYTHONPATH=. "
    run(f"{ROOT}/{command} trainer.max_epochs=2 logger=csv hydra.sweep.dir=sweep", tmp_path)
    names = [pd.read_parquet(run / "lengths")["name"].unique().tolist() for run in tmp_path.glob("sweep/*/")]
    assert names == [["input", "net.2"]] * 2
    printed = run("my_training.py", tmp_path)
    assert re.findall(r"15 +[012] +(\w+)", printed) == ["input", "1", "3"]
