"""The wheel, installed in another project, works from any directory and changes none of the project's files."""

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
PROJECT = {  # another project, whose folders src, conf and hydra_plugins have the names that this project uses
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


def test_the_hydra_plugin_file_imports_only_hydra_and_registers_no_resolver():
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
    source = folder / "source"  # a copy, since building writes files beside pyproject.toml
    for name in ("src", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", folder, source], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment with links to all packages of the current one except this project."""
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
            (target / path.name).mkdir()  # a namespace package that several distributions share
            _link(path, target / path.name)
        else:
            (target / path.name).symlink_to(path)


def state(*folders: Path) -> dict[str, str]:
    """Return a hash of each file in the folders, without Python's caches and run outputs; links are not followed."""
    return {str(path): "" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in folders for path in folder.rglob("*")
            if path.is_file() and not {"__pycache__", "runs", "outputs", ".lock"} & {*path.parts}}  # fmt: skip


@pytest.mark.slow
def test_the_wheel_works_in_a_project_with_the_same_folder_names_and_uninstalls_without_a_trace(
    wheel, environment, tmp_path
):
    project = tmp_path / "project"
    for name, text in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    variables = {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
                 "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}  # fmt: skip

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(words, cwd=project, env=variables, capture_output=True, text=True, timeout=250)
        assert (done.returncode, done.stderr) == (status, ""), f"{words}: {done.stdout} {done.stderr}"
        return done.stdout

    def pip(*words: str) -> None:
        subprocess.run(["uv", "pip", *words, "--quiet", "--python", environment], check=True)

    app = ("python", "app.py")
    app_with_plugins = ("env", "PYTHONPATH=.", *app)
    before, outputs = state(project, environment), (run(*app), run(*app_with_plugins))
    assert outputs == ("theirs {'word': 'none'}\n",) * 2 or outputs[1].startswith("plugin")

    pip("install", "--no-deps", str(wheel))
    assert (run(*app), run(*app_with_plugins)) == outputs
    figure = "from start_training.reports.sweep_figure import figure_node; print(figure_node('figure_1b')['_target_'])"
    printed = run("python", "-c", "from start_training import ActivationLengths, diagnose, initialize_, RangeTest; "
                  f"import src.greeting; print(src.greeting.WORD); {figure}")  # fmt: skip
    assert printed == "theirs\nstart_training.figures.start_of_training.draw_start_of_training\n"
    assert "train " in run("start-training", "--help") and "model.depth=10" in run("start-training", "train", "--help")
    assert run("python", "app.py", "hydra.searchpath=[pkg://start_training.conf]", "+optimizer=sgd", "-c", "job")
    listed = run("python", "-c", "import start_training.conf as c, pathlib; f = pathlib.Path(c.__path__[0]); "
                 "print(*sorted(str(p.relative_to(f)) for p in f.rglob('*.yaml')))").split()  # fmt: skip
    files = [path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")]
    assert listed == sorted(map(str, files))

    train = ("start-training", "train", "-m", *SMALL, "seed=0,1")
    for launcher in ("process", "replicas"):
        run(*train, f"hydra/launcher={launcher}", f"hydra.sweep.dir=runs/{launcher}")
        assert len(list((project / "runs" / launcher).glob("*/summary.json"))) == 2
    run("start-training", "train", *SMALL, "trainer=ddp_cpu", "hydra.run.dir=runs/ranks")
    assert (project / "runs" / "ranks" / "summary.json").exists()
    # A class of the other project has the former name of a class of this project.
    run("start-training", "train", "--config-dir", "conf", "model=mine", *SMALL[2:], "hydra.run.dir=runs/mine")
    assert "src.models.lenet.LeNet" in (project / "runs" / "mine" / "config.yaml").read_text()
    assert '"commit": null' in (project / "runs" / "mine" / "summary.json").read_text()

    pip("uninstall", "how-to-start-training")
    assert state(project, environment) == before
    assert (run(*app), run(*app_with_plugins)) == outputs
