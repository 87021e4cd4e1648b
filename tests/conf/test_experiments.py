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

from scripts.range_test import main as range_test
from scripts.simulate import main_and_figure
from scripts.train import main as train
from src.jobs.command_line import run
from src.jobs.composed import plain
from src.jobs.draw import figure_node, table_of
from src.runs.build import build_partial
from src.runs.directory import RunDirectory
from tests.jobs.test_wandb import logged, records

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
EXPERIMENTS = sorted((CONF / "experiment").rglob("*.yaml"))
RECORD = ("Claim", "Source", "Command", "Takes", "Expected")
SCRIPTS = {  # each script's function, and what makes its jobs small
    "range_test": (
        range_test,
        [
            "size=small",
            "trainer.enable_progress_bar=false",
            *(f"callbacks.range_test.{key}" for key in ("steps=20", "val_points=5", "val_samples=50")),
        ],
    ),
    "simulate": (main_and_figure, ["nets=20", "progress=false"]),
    "train": (train, ["size=small", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]),
}
each_experiment = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def without_mnist(monkeypatch, tmp_path):
    """Small experiments take digits where there is no MNIST."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


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


def script(path: Path) -> str:
    return yaml.safe_load(path.read_text())["script"]


def tables(path: Path) -> list[str]:
    """What W&B gets of the sweep."""
    if script(path) == "simulate":
        return ["layers"]
    table = table_of(composed(path)["figure"])
    others = {"range_test": ["suggestions"], "phase": ["slopes"]}
    return [table.name, *others.get(table.kind, [])]


def as_number(value: str) -> float | str:
    """1e-2 and 0.01 are the same setting."""
    try:
        return float(value)
    except ValueError:
        return value


def swept(path: Path, *overrides: str) -> dict[str, list[str]]:
    """The settings that the sweep goes through, each with its values."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(script(path), [f"experiment={option(path)}", *overrides], return_hydra_config=True)
    return {setting: str(values).split(",") for setting, values in config.hydra.sweeper.params.items()}


def composed(path: Path, *overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose(script(path), [f"experiment={option(path)}", *overrides]))


@each_experiment
def test_an_experiment_is_a_lab_record_whose_command_names_itself(path):
    record = head(path)
    assert Path(record["Command"].split()[3]).stem == script(path)
    assert tuple(record) == RECORD
    assert all(record.values())
    words = shlex.split(record["Command"])
    assert words[:3] == ["uv", "run", "python"]
    assert (ROOT / words[3]).is_file()
    assert f"experiment={option(path)}" in words
    assert "arXiv:" in record["Source"]


SWEPT = [path for path in EXPERIMENTS if script(path) != "simulate"]


@pytest.mark.parametrize("path", SWEPT, ids=lambda path: path.stem)
def test_the_figure_of_a_sweep_can_be_drawn_again_by_its_name(path):
    assert figure_node(path.stem) == yaml.safe_load(path.read_text())["figure"]
    assert build_partial(figure_node(path.stem), "figure")


@pytest.mark.parametrize("size", ["full", "small"])
@each_experiment
def test_every_job_of_an_experiment_composes(path, size):
    sized = [f"size={size}"] if script(path) != "simulate" else []
    config = composed(path, *sized)
    assert build_partial(config["figure"], "figure")
    settings = swept(path, *sized)
    if "depth" in settings:
        settings["depth"] = [f(settings["depth"], key=int) for f in (min, max)]
        assert settings["depth"][-1] == str(config["depth"])  # what -m takes from the file alone
    for chosen in itertools.product(*settings.values()):
        typed = [f"{setting}={value}" for setting, value in zip(settings, chosen, strict=True)]
        job = composed(path, *sized, *typed)
        assert job["depth"] in (job["model"].get("depth"), job["model"].get("modules"), None)


@pytest.fixture
def start(tmp_path, capfd, monkeypatch):
    """Run an experiment as from the shell, its sweep cut down to these values; returns its directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # as a script, which finds conf/ beside itself

    def call(path: Path, *overrides: str, **values: list[str]) -> Path:
        name, *arguments = shlex.split(head(path)["Command"])[3:]
        main, small = SCRIPTS[script(path)]
        node = ",".join(f"{setting}:'{','.join(chosen)}'" for setting, chosen in values.items())
        kept = [each for each in small if each.partition("=")[0] not in values]
        typed = [*arguments, *kept, *overrides, f"hydra.sweeper.params={{{node}}}"]
        monkeypatch.setattr(sys, "argv", [str(ROOT / name), *dict.fromkeys(typed)])
        run(main)
        output, errors = capfd.readouterr()
        assert errors == ""
        [directory] = (tmp_path / "runs").iterdir()
        kinds = ["png", "pdf", "csv", *["parquet"] * (script(path) != "simulate")]
        kinds += ["json"] * (len(tables(path)) > 1)  # what is said of them
        written = [f"runs/{directory.name}/{path.stem}.{kind}" for kind in kinds]
        assert output.splitlines()[-1] == f"figure: {', '.join(written)}"
        return directory

    return call


@each_experiment
def test_an_experiment_of_one_job_leaves_its_figure_and_table_here_and_in_wandb(path, start):
    values = {setting: ["4"] if setting == "depth" else chosen[:1] for setting, chosen in swept(path).items()}
    directory = start(path, **values)
    assert matplotlib.image.imread(directory / f"{path.stem}.png").std() > 0
    assert (directory / f"{path.stem}.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(directory / f"{path.stem}.csv")
    if script(path) == "simulate":
        assert table["layer"].tolist() == [0, 1, 2, 3, 4]
    else:
        assert table["directory"].nunique() == 1
        assert "depth" not in values or set(table["depth"]) == {4}
    found = records(directory)
    names = [record.run.display_name for record in found if record.WhichOneof("record_type") == "run"]
    assert names[0] == path.stem
    mirrored = logged(found)
    rows, *others = tables(path)
    assert mirrored[f"{path.stem}._type"] == "image-file"
    assert {mirrored[f"{name}._type"] for name in (rows, *others)} == {"table-file"}
    assert (mirrored[f"{rows}.nrows"], mirrored[f"{rows}.ncols"]) == table.shape
    files = list(directory.glob("wandb/offline-run-*/files/media/*/*"))
    assert sorted(file.suffix for file in files) == [*[".json"] * len(tables(path)), ".png"]
    [image] = [file for file in files if file.suffix == ".png"]
    assert image.read_bytes() == (directory / f"{path.stem}.png").read_bytes()


@pytest.mark.slow
@each_experiment
def test_an_experiment_runs_small_through_all_that_it_compares(path, start):
    values = swept(path)
    values |= {"depth": ["2", "4"]} if "depth" in values else {}
    values |= {"trainer.max_epochs": ["1", "2"]} if "trainer.max_epochs" in values else {}
    directory = start(path, "logger=csv", **values)
    jobs = math.prod(map(len, values.values()))
    found = {file.parent.name: RunDirectory(file.parent).summary() for file in directory.glob("*/summary.json")}
    assert len(found) == jobs
    assert all(summary["config_hash"] == name for name, summary in found.items())
    table = pd.read_csv(directory / f"{path.stem}.csv", dtype=str)
    for setting, chosen in values.items():
        assert set(map(as_number, table[setting])) == set(map(as_number, chosen))
    if script(path) == "simulate":
        assert table["simulation"].nunique() == jobs
        assert set(table["nets"]) == {"20"}
    else:
        assert table["directory"].nunique() == jobs
        assert len(table) == jobs or tables(path) != ["runs"]
