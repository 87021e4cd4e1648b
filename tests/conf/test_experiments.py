"""Every experiment of conf/ has a lab record, composes, and runs at small size from its command to its figure."""

import math
import re
import shlex
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from start_training.cli.commands import main
from start_training.config.build import build_partial
from start_training.config.composed import plain
from start_training.reports.sweep_figure import figure_node, table_of
from start_training.runs.directory import RunDirectory
from tests.wandb_records import logged, records

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
EXPERIMENTS = sorted((CONF / "experiment").glob("*/*.yaml"))
RECORD = ("Claim", "Source", "Command", "Takes", "Expected")
SMALL = {  # overrides that make the jobs of each command small
    "range_test": [
        "size=small",
        "trainer.enable_progress_bar=false",
        *(f"callbacks.range_test.{key}" for key in ("steps=20", "val_points=5", "val_samples=50")),
    ],
    "simulate": ["nets=20", "progress=false"],
    "train": ["size=small", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"],
}
each_experiment = pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def without_mnist(monkeypatch, tmp_path):
    """Set DATA_DIR to an empty directory, so that small experiments use digits instead of MNIST."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def option(path: Path) -> str:
    return path.relative_to(CONF / "experiment").with_suffix("").as_posix()


def head(path: Path) -> dict[str, str]:
    """Return the lab record in the comment at the top of a file by its fields; indented lines continue a field."""
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


def kind(path: Path) -> str:
    """Return the kind of the table that the figure of an experiment is drawn from."""
    return "layers" if read(path)["script"] == "simulate" else table_of(read(path)["figure"]).kind


def tables(path: Path) -> list[str]:
    """Return the names of the tables of an experiment that are logged to W&B."""
    if read(path)["script"] == "simulate":
        return ["layers"]
    table = table_of(read(path)["figure"])
    return [table.name, *{"range_test": ["suggestions"], "phase": ["slopes"]}.get(table.kind, [])]


# One experiment per command and kind of table, for the test of W&B logging; the others run in the slow tests.
KINDS = {(read(path)["script"], kind(path)): path for path in reversed(EXPERIMENTS)}


def as_number(value: str) -> float | str:
    """Return the value as float if it is a number, so that 1e-2 and 0.01 are equal."""
    try:
        return float(value)
    except ValueError:
        return value


@cache
def composed(path: Path, *overrides: str) -> DictConfig:
    """Return the unresolved config of an experiment, including the node `hydra`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(read(path)["script"], [f"experiment={option(path)}", *overrides], return_hydra_config=True)


def with_values(config: DictConfig, **values: str) -> DictConfig:
    changed = deepcopy(config)
    for setting, value in values.items():
        OmegaConf.update(changed, setting, yaml.safe_load(value))
    return changed


def job(config: DictConfig) -> dict:
    return plain(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


def swept(path: Path, *, size: str) -> dict[str, list[str]]:
    """Return the swept settings of an experiment with their values; of numeric settings, the first and the last."""
    config = composed(path) if read(path)["script"] == "simulate" else with_values(composed(path), size=size)
    values = {setting: str(values).split(",") for setting, values in config.hydra.sweeper.params.items()}
    numbers = {setting: isinstance(as_number(chosen[0]), float) for setting, chosen in values.items()}
    return {
        setting: list(dict.fromkeys([chosen[0], chosen[-1]])) if numbers[setting] else chosen
        for setting, chosen in values.items()
    }


@each_experiment
def test_an_experiment_is_a_lab_record_whose_command_names_itself(path):
    record = head(path)
    assert tuple(record) == RECORD
    assert all(record.values())
    words = shlex.split(record["Command"])
    assert words[:3] == ["uv", "run", "python"]
    assert (ROOT / words[3]).is_file()
    assert Path(words[3]).stem == read(path)["script"]
    assert f"experiment={option(path)}" in words
    assert "arXiv:" in record["Source"]
    if read(path)["script"] != "simulate":  # scripts/draw.py finds its figure by the name of the experiment
        assert figure_node(path.stem) == read(path)["figure"]
    assert build_partial(job(composed(path))["figure"], "figure")


@each_experiment
def test_every_shape_of_job_of_an_experiment_composes(path):
    """Changes one setting of the first job at a time: options are composed, numbers are only inserted."""
    base, settings = composed(path), swept(path, size="full")
    if "depth" in settings:
        assert settings["depth"][-1] == str(base["depth"])  # the default for a single run
    numbers = {setting for setting, values in settings.items() if isinstance(as_number(values[0]), float)}
    first = [f"{setting}={values[0]}" for setting, values in settings.items() if setting not in numbers]
    cells = [composed(path, *first)]
    for setting in settings.keys() - numbers:
        others = [override for override in first if not override.startswith(f"{setting}=")]
        cells += [composed(path, *others, f"{setting}={value}") for value in settings[setting][1:]]
    for at in (0, -1):
        cells += [with_values(cell, **{name: settings[name][at] for name in numbers}) for cell in tuple(cells[:1])]
    if read(path)["script"] != "simulate":
        cells.append(with_values(cells[0], size="small"))
    for cell in map(job, cells):
        assert cell["depth"] in (cell["model"].get("depth"), cell["model"].get("modules"), None)


@pytest.fixture
def start(tmp_path, capfd, monkeypatch):
    """A function that runs an experiment as from the shell with only the given values, and returns its directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "start_training.reports.run_report.figures", lambda *_: {"lengths": Figure(figsize=(0.1, 0.1))}
    )  # the figure of each job; the figure of the sweep is drawn

    def call(path: Path, *overrides: str, **values: list[str]) -> Path:
        name, *arguments = shlex.split(head(path)["Command"])[3:]
        command = read(path)["script"]
        node = ",".join(f"{setting}:'{','.join(chosen)}'" for setting, chosen in values.items())
        small = [override for override in SMALL[command] if override.partition("=")[0] not in values]
        words = [*arguments, *small, *overrides, f"hydra.sweeper.params={{{node}}}"]
        monkeypatch.setattr(sys, "argv", [str(ROOT / name), *dict.fromkeys(words)])
        main(command)
        output, errors = capfd.readouterr()
        assert errors == ""
        [directory] = (tmp_path / "runs").iterdir()
        kinds = ["png", "pdf", "csv", *["parquet"] * (read(path)["script"] != "simulate")]
        kinds += ["json"] * (len(tables(path)) > 1)  # statistics of the figure
        written = [f"runs/{directory.name}/{path.stem}.{kind}" for kind in kinds]
        assert output.splitlines()[-1] == f"figure: {', '.join(written)}"
        assert matplotlib.image.imread(directory / f"{path.stem}.png").std() > 0
        assert (directory / f"{path.stem}.pdf").read_bytes().startswith(b"%PDF")
        return directory

    return call


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id="-".join(kind), marks=pytest.mark.slow if kind[1] in ("phase", "epochs") else ())
        for kind, path in KINDS.items()
    ],
)
def test_an_experiment_of_one_job_writes_its_figure_and_table_to_disk_and_to_wandb(path, start):
    values = {setting: chosen[:1] for setting, chosen in swept(path, size="small").items()}
    values |= {"depth": ["4"]} if "depth" in values else {}
    directory = start(path, **values)
    table = pd.read_csv(directory / f"{path.stem}.csv")
    if read(path)["script"] == "simulate":
        assert table["layer"].tolist() == [0, 1, 2, 3, 4]
    else:
        assert table["directory"].nunique() == 1
        assert "depth" not in values or set(table["depth"]) == {4}
    wandb_records = records(directory)
    names = [record.run.display_name for record in wandb_records if record.WhichOneof("record_type") == "run"]
    assert names[0] == path.stem
    mirrored = logged(wandb_records)
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
def test_an_experiment_runs_at_small_size_with_all_settings_that_it_compares(path, start):
    values = swept(path, size="small")
    values |= {"depth": ["2", "4"]} if "depth" in values else {}
    values |= {"trainer.max_epochs": ["1"]} if "trainer.max_epochs" in values else {}
    if "seed" in values and math.prod(map(len, values.values())) > 8:
        values["seed"] = ["0"]
    directory = start(path, "logger=csv", **values)
    jobs = math.prod(map(len, values.values()))
    summaries = {file.parent.name: RunDirectory(file.parent).summary() for file in directory.glob("*/summary.json")}
    assert len(summaries) == jobs
    assert all(summary["config_hash"] == name for name, summary in summaries.items())
    table = pd.read_csv(directory / f"{path.stem}.csv", dtype=str)
    for setting, chosen in values.items():
        assert set(map(as_number, table[setting])) == set(map(as_number, chosen))
    if read(path)["script"] == "simulate":
        assert table["simulation"].nunique() == jobs
        assert set(table["nets"]) == {"20"}
    else:
        assert table["directory"].nunique() == jobs
        assert len(table) == jobs or tables(path) != ["runs"]
