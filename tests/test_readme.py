"""The commands of the README and of docs/ run as they stand there, and docs/extending.md does what it says."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from start_training.cli.commands import COMMANDS
from tests import forked
from tests.composing import DATA, QUICK, RATES

ROOT = Path(__file__).parents[1]
AT_THE_TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FILES = {name: ROOT / name for name in AT_THE_TOP}
FILES |= {str(file.relative_to(ROOT / "docs")): file for file in sorted(ROOT.glob("docs/**/*.md"))}
PAGES = {name: file.read_text() for name, file in FILES.items()}
README = PAGES["README.md"]
OWN_PROJECT = "Use it in your own project"
SECTIONS = {
    (page, section.partition("\n")[0].strip("# ")): section
    for page, text in PAGES.items()
    if not page.startswith("tutorials/")  # tests/docs/test_tutorials.py runs those
    for section in re.split(r"^(?=## )", text, flags=re.MULTILINE)
}
PREFIX = "uv run python "


def commands(text: str) -> list[str]:
    """A page's commands in their order, but for benchmarks and campaigns."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(PREFIX)]
    return [line for line in lines if "benchmark" not in line and "scripts/verify.py" not in line]


def is_short(command: str) -> bool:
    """Others take minutes each; tests/conf runs every experiment cut down, and draws it."""
    return not any(word in command for word in ("experiment=", "draw.py figure", "reproduce.py "))


@cache
def to_run() -> dict[tuple[str, str], list[str]]:
    """The short commands of each section, without those that another one has and whose directory no later one reads."""
    found, sections = {FIRST}, {}  # the first one has a test of its own
    for key, text in SECTIONS.items():
        own = sections[key] = []
        for line in filter(is_short, commands(text)):
            _, _, folder = line.partition("dir=")
            if line not in found or (folder and text.count(folder.split()[0]) > 1):
                own.append(line)
            found.add(line)
    return sections


FIRST = commands(README)[0]
PATHS = f".{os.pathsep}{ROOT}"
ENVIRONMENT = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


def run(command: str, directory: Path) -> str:
    """What a script prints, as a fork: with no shell but for quotes and $PWD."""
    script, *arguments = shlex.split(command.replace("$PWD", str(directory)))
    finished = forked.run(script, *arguments, cwd=directory, env=ENVIRONMENT, timeout=600)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_readme_has_the_two_commands_and_every_script_is_named():
    assert FIRST == "uv run python scripts/train.py"
    assert "uv run pytest" in README
    text = "".join(PAGES.values())
    assert all(f"scripts/{script.name}" in text for script in ROOT.glob("scripts/*.py"))


@pytest.mark.slow
def test_the_first_command_trains_digits_to_95_percent_and_prints_its_table(tmp_path):
    """As a user starts it, in a fresh process."""
    command = [sys.executable, ROOT / FIRST.removeprefix(PREFIX)]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=True)
    accuracy = re.search(r"accuracy │ (\d+\.\d+)%", finished.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) >= 95
    assert all(word in finished.stdout for word in ("initial", "theory", "final", "hidden.9.activation"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page, heading", [key for key in SECTIONS if to_run()[key]])
def test_every_command_runs_in_the_order_of_its_section(page, heading, tmp_path):
    """Sections stand on their own, so that tests of several workers share a page; their modules are saved first."""
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", SECTIONS[page, heading], re.DOTALL):
        (tmp_path / name).write_text(code)
    for command in to_run()[page, heading]:
        if "datamodule=mnist" in command and not Path(os.environ.get("DATA_DIR", "data"), "MNIST").is_dir():
            continue  # no MNIST here, and no network to download it from
        run(f"{ROOT}/{short(command.removeprefix(PREFIX))}", tmp_path)


def short(command: str) -> str:
    """Fewer steps, layers and jobs; a sweep's runs without W&B, which takes longer to start. Later words win."""
    script, *typed = command.split()
    words = [
        *["trainer.max_epochs=1"] * (script == "scripts/train.py" and "trainer.max_epochs" not in command),
        *["trainer.max_epochs=2", DATA, *RATES] * (script == "scripts/search.py"),
        *(word for word in QUICK["phase_diagram"] if script == "scripts/phase_diagram.py" and word != "logger=csv"),
        *["budget=10", "seeds=1"] * (script == "scripts/recipe.py"),
        *["logger=csv"] * ((" -m " in command and script != "scripts/diagnose.py") or script == "scripts/search.py"),
    ]
    return " ".join([script, *map(first_and_last, typed), *words])


def first_and_last(word: str) -> str:
    """Of the values of a swept setting, two."""
    setting, _, values = word.partition("=")
    plain = re.fullmatch(r"[\w.+-]+(,[\w.+-]+){2,}", values)
    return f"{setting}={values.split(',')[0]},{values.split(',')[-1]}" if plain else word


@pytest.fixture
def extended(tmp_path):
    """A directory with the files of docs/extending.md."""
    for _, block in re.findall(r"```(python|yaml)\n(.*?)```", PAGES["extending.md"], re.DOTALL):
        file = tmp_path / re.match(r"# (\S+)", block)[1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block)
    return tmp_path


@pytest.mark.slow
def test_extending_works_as_its_page_says_from_outside_the_repository(extended):
    [command] = re.findall(r"```bash\n(.*?)```", SECTIONS["extending.md", "Extend"], re.DOTALL)
    variables, command = command.strip().split("python path/to/")
    assert variables == "PYTHONPATH=. "
    run(f"{ROOT}/{command} trainer.max_epochs=2 logger=csv hydra.sweep.dir=sweep", extended)
    names = [pd.read_parquet(run / "lengths")["name"].unique().tolist() for run in extended.glob("sweep/*/")]
    assert names == [["input", "net.2"]] * 2
    printed = run("my_training.py", extended)
    assert re.findall(r"15 +[012] +(\w+)", printed) == ["input", "1", "3"]


@pytest.mark.slow
def test_a_task_and_data_of_ones_own_work_as_their_sections_say(extended):
    [command] = re.findall(r"```sh\nPYTHONPATH=. python path/to/(.*?)\n```", PAGES["extending.md"], re.DOTALL)
    printed = run(f"{ROOT}/{command} trainer.max_epochs=2 logger=csv model.depth=2 hydra.sweep.dir=sweep", extended)
    assert printed.count("completed") >= 2
    metrics = {name for file in extended.glob("sweep/*/metrics.csv") for name in pd.read_csv(file).columns}
    assert {"val/r2", "val/error", "train/error"} <= metrics


@pytest.mark.slow
def test_a_project_of_ones_own_works_as_its_section_says(extended):
    [command] = re.findall(r"^start-training (.*)", SECTIONS["extending.md", OWN_PROJECT], re.MULTILINE)
    printed = run(f"{ROOT}/src/cli/__main__.py {command} trainer.max_epochs=1 logger=csv", extended)
    assert "net.2" in printed
    assert float(run("my_project.py", extended)) == pytest.approx(2, rel=0.02)
    assert run("my_app.py", extended).startswith("LeNet(")


@pytest.mark.slow
def test_the_python_of_the_readme_finds_a_failure_and_its_cure(tmp_path):
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(block.splitlines()) == 10
    (tmp_path / "example.py").write_text(block)
    printed = run("example.py", tmp_path)
    assert "UNHEALTHY: does not start with SGD or Adam" in printed and "Multiply the weights" in printed
    assert printed.endswith("True\n")


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_bytes()) <= 6000


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_and_image_exists(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            file = (FILES[page].parent / path).resolve() if path else FILES[page]
            assert file.is_file(), link
            if anchor:
                assert anchor in anchors(file), link


def anchors(page: Path) -> list[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_the_code_that_is_named_exists(page):
    named = re.findall(r"`((?:src|conf|scripts|tests|benchmarks)/[\w/.-]+)`", PAGES[page])
    assert not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]


def test_every_command_named_is_one():
    named = re.findall(r"start-training ([a-z_]+)", "".join(PAGES.values()))
    assert named and set(named) <= set(COMMANDS)


def test_what_there_is_is_there():
    rows = re.findall(r"^\| \S.*\?.*\|$", SECTIONS["README.md", "What there is"], re.MULTILINE)
    cells = [row.split("|")[2] for row in rows]
    assert {words.split()[0] for words in re.findall(r"`(.*?)`", "".join(cells))} <= set(COMMANDS)
    for experiment in re.findall(r"experiment=(\S+?)[`\s]", "".join(cells)):
        assert (ROOT / "conf" / "experiment" / f"{experiment}.yaml").is_file()
    assert len(rows) >= 9 and all(re.search(r"`\w+.*`", cell) for cell in cells)
