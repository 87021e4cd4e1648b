"""The README's commands run as they stand there, and its section on extending does what it says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

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


def run(command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "MPLBACKEND": "agg", **environment}
    finished = subprocess.run(command, shell=True, cwd=directory, env=environment, capture_output=True, text=True,
                              timeout=300, check=False, executable="/bin/bash")  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished


def test_the_readme_has_the_two_commands_and_names_every_script():
    assert COMMANDS[0] == "uv run python scripts/train.py"
    assert "uv run pytest" in README
    assert all(f"scripts/{script.name}" in README for script in ROOT.glob("scripts/*.py"))


def as_here(command: str) -> str:
    return f"{shlex.quote(sys.executable)} {ROOT}/{command.removeprefix(PREFIX)}"


@pytest.mark.slow
def test_the_first_command_trains_digits_to_95_percent_and_prints_its_table(tmp_path):
    finished = run(as_here(COMMANDS[0]), tmp_path)
    accuracy = re.search(r"accuracy │ (\d+\.\d+)%", finished.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) >= 95
    assert all(word in finished.stdout for word in ("initial", "theory", "final", "hidden.9.activation"))


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_page(tmp_path):
    for command in COMMANDS[1:]:
        if "experiment=" in command or "draw.py figure" in command:
            continue  # minutes each; tests/conf runs every experiment cut down, and draws it
        if "datamodule=mnist" in command and not Path(os.environ.get("DATA_DIR", "data"), "MNIST").is_dir():
            continue  # no MNIST here, and no network to download it from
        run(as_here(command), tmp_path)


def test_extending_works_as_the_readme_says_from_outside_the_repository(tmp_path):
    extend = README[README.index("## Extend") : README.index("## Several GPUs")]
    for _, block in re.findall(r"```(python|yaml)\n(.*?)```", extend, re.DOTALL):
        file = tmp_path / re.match(r"# (\S+)", block)[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    [command] = re.findall(r"```bash\n(.*?)```", extend, re.DOTALL)
    command = command.strip().replace("python path/to", f"{shlex.quote(sys.executable)} {ROOT}")
    run(f"{command} trainer.max_epochs=2 logger=csv hydra.sweep.dir=sweep", tmp_path)
    names = [pd.read_parquet(run / "lengths")["name"].unique().tolist() for run in tmp_path.glob("sweep/*/")]
    assert names == [["input", "net.2"]] * 2
    printed = run(f"{shlex.quote(sys.executable)} my_training.py", tmp_path).stdout
    assert re.findall(r"15 +[012] +(\w+)", printed) == ["input", "1", "3"]
