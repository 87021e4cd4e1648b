"""The wheel: in somebody's project it works from any directory, and touches nothing of theirs."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ("model.depth=2", "model.width=8", "datamodule.batch_size=256", "trainer.max_epochs=1", "logger=csv",
         "trainer.enable_progress_bar=false")  # fmt: skip
PROJECT = {  # one that has a src, a conf and a Hydra plugin of its own, under the names that this project uses
    "src/__init__.py": "",
    "src/models/__init__.py": "",
    "src/models/lenet.py": "from start_training.models.fully_connected import FullyConnected\n\n\n"
    "class LeNet(FullyConnected):\n    def __init__(self, input_size, classes):\n"
    "        super().__init__(input_size, classes, depth=2, width=9, activation='relu')\n",
    "src/greeting.py": "WORD = 'theirs'\n",
    "hydra_plugins/theirs.py": "from hydra.core.config_search_path import ConfigSearchPath\n"
    "from hydra.plugins.search_path_plugin import SearchPathPlugin\n\n\n"
    "class Theirs(SearchPathPlugin):\n"
    "    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:\n        print('plugin')\n",
    "conf/app.yaml": "word: ${oc.env:WORD,none}\n",
    "conf/model/mine.yaml": "_target_: src.models.lenet.LeNet\n",
    "app.py": "import hydra\nfrom src.greeting import WORD\n\n\n"
    "@hydra.main(version_base='1.3', config_path='conf', config_name='app')\n"
    "def main(config):\n    print(WORD, config)\n\n\nmain()\n",
}


def test_the_list_of_packages_is_complete():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*.py")}
    packages = {".".join(["start_training", *folder.parts]) for folder in folders}
    assert sorted(settings["packages"]) == sorted({"hydra_plugins", "start_training.conf", *packages})


def test_hydras_plugin_file_imports_hydra_alone_and_registers_nothing():
    code = """
import sys
from omegaconf import OmegaConf
before = OmegaConf.has_resolver("config_hash")
import hydra_plugins.how_to_start_training
heavy = {"torch", "start_training", "pandas"} & sys.modules.keys()
assert not heavy and not before and not OmegaConf.has_resolver("config_hash"), heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: building leaves files beside pyproject.toml
    for name in ("src", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", folder, source], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment with all that this one has, as links, but for this project."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    _link(Path(sysconfig.get_path("purelib")), packages)
    return folder


def _link(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if re.search("how_to_start_training", path.name) or path.name in ("__pycache__", "__editable___.pth"):
            continue
        if path.is_dir() and path.suffix != ".dist-info" and not (path / "__init__.py").exists():
            (target / path.name).mkdir()  # part of a package that several distributions share
            _link(path, target / path.name)
        else:
            (target / path.name).symlink_to(path)


def state(*folders: Path) -> dict[str, str]:
    """What lies in folders, but for Python's caches and, of an environment, the contents of links."""
    return {str(path): "" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in folders for path in folder.rglob("*")
            if path.is_file() and not {"__pycache__", "runs", "outputs", ".lock"} & {*path.parts}}  # fmt: skip


@pytest.mark.slow
def test_in_a_project_with_the_same_names_it_works_warns_of_nothing_and_leaves_nothing(wheel, environment, tmp_path):
    project = tmp_path / "project"
    for name, text in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    variables = {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
                 "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "WANDB_MODE": "offline"}  # fmt: skip

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(words, cwd=project, env=variables, capture_output=True, text=True, timeout=250)
        assert (done.returncode, done.stderr) == (status, ""), f"{words}: {done.stdout} {done.stderr}"
        return done.stdout

    def pip(*words: str) -> None:
        subprocess.run(["uv", "pip", *words, "--quiet", "--python", environment], check=True)

    theirs = ("python", "app.py")
    hydras = ("env", "PYTHONPATH=.", *theirs)
    before, alone = state(project, environment), (run(*theirs), run(*hydras))
    assert alone == ("theirs {'word': 'none'}\n",) * 2 or alone[1].startswith("plugin")

    pip("install", "--no-deps", str(wheel))
    assert (run(*theirs), run(*hydras)) == alone
    assert run("python", "-c", "from start_training import ActivationLengths, diagnose, initialize_, RangeTest; "
               "import src.greeting; print(src.greeting.WORD)") == "theirs\n"  # fmt: skip
    assert "train " in run("start-training", "--help")
    assert run("python", "app.py", "hydra.searchpath=[pkg://start_training.conf]", "+optimizer=sgd", "-c", "job")
    listed = run("python", "-c", "import start_training.conf as c, pathlib; f = pathlib.Path(c.__path__[0]); "
                 "print(*sorted(str(p.relative_to(f)) for p in f.rglob('*.yaml')))").split()  # fmt: skip
    own = [path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")]
    links = [Path("readout_initializer") / path.name for path in (ROOT / "conf" / "initializer").glob("*.yaml")]
    assert listed == sorted({str(path) for path in [*own, *links]})

    figure = "from start_training.reports.sweep_figure import figure_node; print(figure_node('figure_1b')['_target_'])"
    assert run("python", "-c", figure) == "start_training.figures.start_of_training.draw_start_of_training\n"
    train = ("start-training", "train", "-m", *SMALL, "seed=0,1")
    for launcher in ("process", "replicas"):
        run(*train, f"hydra/launcher={launcher}", f"hydra.sweep.dir=runs/{launcher}")
        assert len(list((project / "runs" / launcher).glob("*/summary.json"))) == 2
    run("start-training", "train", *SMALL, "trainer=ddp_cpu", "hydra.run.dir=runs/ranks")
    assert (project / "runs" / "ranks" / "summary.json").exists()
    # A class of theirs has the old name of one of ours.
    run("start-training", "train", "--config-dir", "conf", "model=mine", *SMALL[2:], "hydra.run.dir=runs/mine")
    assert "src.models.lenet.LeNet" in (project / "runs" / "mine" / "config.yaml").read_text()
    assert '"commit": null' in (project / "runs" / "mine" / "summary.json").read_text()

    pip("uninstall", "how-to-start-training")
    assert state(project, environment) == before
    assert (run(*theirs), run(*hydras)) == alone
