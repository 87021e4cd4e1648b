"""Every experiment of conf/ says what it claims, composes, and runs small from its command to its figure."""

import itertools
import math
import re
import shlex
import sys
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir

from scripts.simulate import main_and_figure
from src.jobs.command_line import run
from src.jobs.composed import plain
from src.runs.build import build_partial
from src.runs.directory import RunDirectory
from tests.jobs.test_wandb import logged, records

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
EXPERIMENTS = sorted((CONF / "experiment").rglob("*.yaml"))
RECORD = ("Claim", "Source", "Command", "Takes", "Expected")
each_experiment = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)


def option(path: Path) -> str:
    return path.relative_to(CONF / "experiment").with_suffix("").as_posix()


def head(path: Path) -> dict[str, str]:
    """The lab record in the comment that a file begins with; indented lines go on with the last."""
    record: dict[str, str] = {}
    first, *comment = path.read_text().splitlines()
    assert first == "# @package _global_"
    for line in comment:
        if not line.startswith("# "):
            break
        if named := re.match(r"# (\w+): (.*)", line):
            record[named[1]] = named[2]
        else:
            record[next(reversed(record))] += " " + line.removeprefix("#").strip()
    return record


def swept(path: Path) -> dict[str, list[str]]:
    """The settings that the sweep goes through, each with its values."""
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    return {setting: str(values).split(",") for setting, values in params.items()}


def composed(path: Path, *overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("simulate", [f"experiment={option(path)}", *overrides]))


@each_experiment
def test_an_experiment_is_a_lab_record_whose_command_names_itself(path):
    record = head(path)
    assert tuple(record) == RECORD
    assert all(record.values())
    words = shlex.split(record["Command"])
    assert words[:3] == ["uv", "run", "python"]
    assert (ROOT / words[3]).is_file()
    assert f"experiment={option(path)}" in words
    assert "arXiv:" in record["Source"]


@each_experiment
def test_every_job_of_an_experiment_composes(path):
    config = composed(path)
    assert build_partial(config["figure"], "figure")
    settings = swept(path)
    shortest, longest = (sorted(map(int, settings["depth"]))[end] for end in (0, -1))
    assert longest == config["depth"]  # what -m takes from the file alone
    for chosen in itertools.product(*(settings | {"depth": [shortest, longest]}).values()):
        job = composed(path, *(f"{setting}={value}" for setting, value in zip(settings, chosen, strict=True)))
        assert job["depth"] in (job["model"].get("depth"), job["model"].get("modules"))


@pytest.fixture
def simulate(tmp_path, capfd, monkeypatch):
    """Run an experiment as from the shell, its sweep cut down to these values; returns its directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # as a script, which finds conf/ beside itself

    def call(path: Path, *overrides: str, **values: list[str]) -> Path:
        script, *arguments = shlex.split(head(path)["Command"])[3:]
        node = ",".join(f"{setting}:'{','.join(chosen)}'" for setting, chosen in values.items())
        typed = [*arguments, "nets=20", "progress=false", *overrides, f"hydra.sweeper.params={{{node}}}"]
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *typed])
        run(main_and_figure)
        output, errors = capfd.readouterr()
        assert errors == ""
        [directory] = (tmp_path / "runs").iterdir()
        written = [f"runs/{directory.name}/{path.stem}.{kind}" for kind in ("png", "pdf", "csv")]
        assert output.splitlines()[-1] == f"figure: {', '.join(written)}"
        return directory

    return call


@each_experiment
def test_an_experiment_of_one_job_leaves_its_figure_and_table_here_and_in_wandb(path, simulate):
    values = {setting: ["4"] if setting == "depth" else chosen[:1] for setting, chosen in swept(path).items()}
    directory = simulate(path, **values)
    assert matplotlib.image.imread(directory / f"{path.stem}.png").std() > 0
    assert (directory / f"{path.stem}.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(directory / f"{path.stem}.csv")
    assert table["layer"].tolist() == [0, 1, 2, 3, 4]
    found = records(directory)
    names = [record.run.display_name for record in found if record.WhichOneof("record_type") == "run"]
    assert names[0] == path.stem
    mirrored = logged(found)
    assert (mirrored[f"{path.stem}._type"], mirrored["layers._type"]) == ("image-file", "table-file")
    assert (mirrored["layers.nrows"], mirrored["layers.ncols"]) == table.shape
    files = list(directory.glob("wandb/offline-run-*/files/media/*/*"))
    assert sorted(file.suffix for file in files) == [".png", ".json"][::-1]
    [image] = [file for file in files if file.suffix == ".png"]
    assert image.read_bytes() == (directory / f"{path.stem}.png").read_bytes()


@pytest.mark.slow
@each_experiment
def test_an_experiment_runs_small_through_all_that_it_compares(path, simulate):
    values = swept(path) | {"depth": ["2", "4"]}
    directory = simulate(path, "logger=csv", **values)
    jobs = math.prod(map(len, values.values()))
    found = {file.parent.name: RunDirectory(file.parent).summary() for file in directory.glob("*/summary.json")}
    assert len(found) == jobs
    assert all(summary["config_hash"] == name for name, summary in found.items())
    table = pd.read_csv(directory / f"{path.stem}.csv", dtype=str)
    assert table["simulation"].nunique() == jobs
    for setting, chosen in values.items():
        assert set(table[setting]) == set(chosen)
    assert set(table["nets"]) == {"20"}
