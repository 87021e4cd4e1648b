"""Imports point one way: a folder of src uses only the folders before it."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "start_training"  # what src/ is imported as

# From the bottom. Folders of one line stand side by side and do not use each other.
ORDER = [
    {"theory"},
    {"lengths"},
    {"tasks"},
    {"datamodules"},
    {"initializers"},
    {"models"},
    {"ensembles", "order_chaos", "schedules"},
    {"files"},
    {"runs"},
    {"recording"},
    {"callbacks"},
    {"replicas"},
    {"config"},
    {"analysis"},
    {"figures"},
    {"diagnosis"},
    {"cure"},
    {"reports"},
    {"training"},
    {"launchers"},
    {"studies"},
    {"cli"},
    {"benchmarks"},  # beside src/, and not shipped
    {"scripts"},
]
OUTSIDE = ("benchmarks", "scripts")  # of the package
KNOWN_TESTS = (("scripts", ["campaigns"]), ("benchmarks", ["zoo"]))  # what these import of tests
RANKS = {folder: rank for rank, folders in enumerate(ORDER) for folder in folders}


def imported_modules(source: str) -> set[str]:
    """Every module that a source file imports, at its top or inside a function; relative ones begin with a dot."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = {f"{PACKAGE}.{alias.name}" for alias in node.names}
            modules |= names if module == PACKAGE else {module}
    return modules


def wrong_imports(folder: str | None, source: str, ground: set[str]) -> set[str]:
    """What a file of a folder may not import. Modules in src itself are the ground for all; their folder is None."""
    return {module for module in imported_modules(source) if not _is_allowed(folder, module.split("."), ground)}


def _is_allowed(folder: str | None, module: list[str], ground: set[str]) -> bool:
    if module[0] == "torch":
        return folder != "theory"
    if module[0] in OUTSIDE:
        return folder == module[0] or folder == "scripts" != module[0]
    if module[0] != PACKAGE:
        return module[0] not in ("", "tests") or (folder, module[1:2]) in KNOWN_TESTS
    used = module[1] if len(module) > 1 else None
    if used in ground or used == folder:
        return used is not None
    return RANKS.get(used, len(ORDER)) < RANKS.get(folder, 0)


def files() -> list[tuple[str | None, Path]]:
    """Each file and its folder; not the package's own, which names what is public in all of them."""
    sources = [path for path in sorted((ROOT / "src").rglob("*.py")) if path != ROOT / "src" / "__init__.py"]
    inside = [(path.relative_to(ROOT / "src").parts, path) for path in sources]
    outside = [(folder, path) for folder in OUTSIDE for path in sorted((ROOT / folder).rglob("*.py"))]
    return [(parts[0] if len(parts) > 1 else None, path) for parts, path in inside] + outside


GROUND = {path.stem for folder, path in files() if folder is None} | {"conf"}  # the YAML files, which import nothing


def test_every_folder_has_its_place():
    assert {folder for folder, _ in files()} - {None} <= set(RANKS)


@pytest.mark.parametrize("folder", [*sorted(RANKS), None])
def test_a_folder_uses_only_what_stands_before_it(folder):
    wrong = {
        str(path.relative_to(ROOT)): modules
        for of, path in files()
        if of == folder and (modules := wrong_imports(folder, path.read_text(), GROUND))
    }
    assert not wrong


@pytest.mark.parametrize(
    "folder, source",
    [
        ("models", "from start_training.runs.directory import RunDirectory"),
        ("models", "import start_training.callbacks.divergence as divergence"),
        ("models", "from start_training import studies"),
        ("models", "def late():\n    from start_training.training.train import train"),
        ("models", "from ..runs import directory"),
        ("models", "from . import residual"),
        ("models", "import scripts.train"),
        ("models", "import start_training"),
        ("models", "from start_training.models_of_mine import net"),
        ("ensembles", "from start_training.order_chaos.slope import slope"),
        ("figures", "from benchmarks.callback import run"),
        ("studies", "from benchmarks.replicas import main"),
        ("reports", "from start_training.training.train import train"),
        ("training", "from start_training.launchers.workers import launch"),
        ("analysis", "from start_training.figures.labels import label"),
        ("callbacks", "from start_training.replicas.stack import stacked"),
        ("replicas", "from start_training.training.record import Job"),
        ("theory", "import torch.nn"),
        ("theory", "from torch.nn import functional"),
        ("theory", "from start_training.lengths.growth_rate import growth_rate"),
        (None, "from start_training.theory.mean_length import RELU"),
    ],
)
def test_an_import_that_points_the_other_way_is_found(folder, source):
    assert wrong_imports(folder, source, {"settings"})


@pytest.mark.parametrize(
    "folder, source",
    [
        (
            "models",
            "from start_training.theory.depths import RELU\nfrom start_training.models import activation",
        ),
        ("models", "import torch\nfrom start_training import settings, initializers"),
        ("theory", "import numpy\nfrom start_training.settings import one_of"),
        (
            "studies",
            "from start_training.figures.labels import label\nfrom start_training.reports import run_report",
        ),
        ("replicas", "from start_training.callbacks.divergence import Divergence"),
        ("benchmarks", "from start_training.training.replica_runs import train_group"),
        ("scripts", "from start_training.config.errors import run"),
        (None, "from start_training.settings import one_of\nimport math"),
    ],
)
def test_an_import_that_points_down_is_allowed(folder, source):
    assert not wrong_imports(folder, source, {"settings"})


def test_no_file_needs_itself_not_even_by_a_late_import():
    names = {
        path: ".".join([PACKAGE, *path.relative_to(ROOT / "src").with_suffix("").parts])
        for folder, path in files()
        if folder not in OUTSIDE
    }
    used = {name: imported_files(path.read_text(), {*names.values()}) - {name} for path, name in names.items()}
    assert all(TopologicalSorter(used).static_order())  # which raises CycleError
    with pytest.raises(CycleError):
        TopologicalSorter(used | {f"{PACKAGE}.settings": {f"{PACKAGE}.cli.commands"}}).prepare()


def imported_files(source: str, all_files: set[str]) -> set[str]:
    """Of all files, those that a source imports, or names of which."""
    modules = imported_modules(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules & all_files


def test_theory_needs_no_torch():
    modules = [
        f"{PACKAGE}.theory.{path.stem}" for folder, path in files() if folder == "theory" and path.stem != "__init__"
    ]
    command = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT).returncode == 0
    stand_in = f"import sys; sys.modules['torch'] = sys; {command}"  # torch itself takes seconds to import
    assert subprocess.run([sys.executable, "-c", stand_in], cwd=ROOT).returncode == 1
