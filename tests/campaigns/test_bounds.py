"""Tests of the lower bounds of dependencies in pyproject.toml, and of the campaign `bounds`."""

import os
import shutil
import subprocess
import tomllib
import warnings
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.campaigns import bounds
from tests.campaigns.trees import copy_of

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
UV = os.environ.get("UV") or shutil.which("uv")
STUB = """#!/bin/sh
case "$*" in
    "python find"*) exit $FIND ;;
    *importlib*) echo '["2.11", "2.6", "1.3", "1.26", "2.2"]' ;;
    "run pytest"*) echo "<r><testsuite tests='9' skipped='1' failures='$FAILED' errors='0'/></r>" > "${5#*=}"
                   exit $FAILED ;;
    *) test -f conf/train.yaml && test "$UV_RESOLUTION" = lowest-direct && test -z "$PYTHONPATH" ;;
esac
"""


def requirements(*extras: str) -> list[Requirement]:
    """Return the requirements of the project, of some of its extras, and of its dependency groups."""
    chosen = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    listed = [
        Requirement(text)
        for texts in [*chosen, *PYPROJECT["dependency-groups"].values()]
        for text in texts
        if isinstance(text, str)  # a group that is included is listed itself
    ]
    return [requirement for requirement in listed if requirement.name != PROJECT["name"]]


def lower_bounds(python: str, listed: list[Requirement]) -> dict[str, list[Version]]:
    """Return the lower bounds of each package on this Python, by name."""
    bounds_of: dict[str, list[Version]] = {canonicalize_name(requirement.name): [] for requirement in listed}
    for requirement in listed:
        if not requirement.marker or requirement.marker.evaluate({"python_version": python}):
            versions = [Version(bound.version) for bound in requirement.specifier if bound.operator == ">="]
            bounds_of[canonicalize_name(requirement.name)] += versions
    return bounds_of


@pytest.mark.parametrize("python", bounds.pythons())
def test_each_dependency_has_one_lower_bound(python):
    bounds_of = lower_bounds(python, requirements(*PROJECT["optional-dependencies"]))
    assert [name for name, versions in bounds_of.items() if len(versions) != 1] == []
    assert len(bounds_of) > 20


def test_the_oldest_python_of_the_classifiers_is_the_one_required():
    assert PROJECT["requires-python"] == f">={bounds.pythons()[0]}"
    assert bounds.pythons() == ["3.11", "3.12", "3.13"]


@pytest.fixture(scope="module")
def uv() -> str:
    if UV is None:
        pytest.skip("uv is not installed")
    control = subprocess.run([UV, "pip", "compile", "-q", "--refresh", "-"], input="filelock", text=True,
                             capture_output=True, cwd="/", timeout=60)  # fmt: skip
    if control.returncode:
        pytest.skip("no package index can be reached")
    return UV


@pytest.mark.slow
@pytest.mark.parametrize("python", bounds.pythons())  # wheels depend on the Python version; 5 s each
def test_the_lowest_versions_fit_each_other_and_need_no_compiler(python, uv, tmp_path):
    """The exception is the antlr4 of Hydra, which is plain Python and has no wheel of its version."""
    listed = requirements("launchers")  # the extra of ray excludes these versions
    lowest = {name: versions[0] for name, versions in lower_bounds(python, listed).items()}
    command = [uv, "pip", "compile", "-q", "--no-header", "--no-annotate", "--no-python-downloads", "-",
               "--python-version", python, "--resolution", "lowest-direct", "--only-binary", ":all:",
               "--no-binary", "antlr4-python3-runtime"]  # fmt: skip
    finished = subprocess.run(
        command, input="\n".join(map(str, listed)), text=True, capture_output=True, cwd=tmp_path, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    resolved = dict(line.split("==") for line in finished.stdout.splitlines())
    assert {name: Version(resolved[name]) for name in lowest} == lowest


@pytest.mark.parametrize("no_python, failed, message", [(0, 0, "8 passed, 0 failed, 1 skipped"),
                                                 (0, 1, "7 passed, 1 failed, 1 skipped"),
                                                 (1, 0, "uv finds no Python 3.12")])  # fmt: skip
def test_the_campaign_prints_outcomes_and_fails_if_a_command_fails(
    no_python, failed, message, tmp_path, monkeypatch, capsys
):
    (tmp_path / "uv").write_text(STUB)
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FIND", str(no_python))
    monkeypatch.setenv("FAILED", str(failed))
    status = bounds.main(["--python", "3.12", "--versions", "lowest", "--directory", str(tmp_path)])
    printed = capsys.readouterr().out
    assert status == max(no_python, failed)
    assert message in printed
    assert "| 2.11 | 2.6 | 1.3 | 1.26 | 2.2 | passed, " in printed or no_python
    assert [path.name for path in tmp_path.iterdir()] == ["uv"]  # the environment is gone


def test_the_copied_tree_has_every_file_and_only_the_bounds_of_versions(tmp_path):
    tree = copy_of(ROOT, tmp_path)
    assert (tree / "conf" / "readout_initializer" / "he_normal.yaml").is_symlink()
    left = tomllib.loads(bounds.without_constraints((tree / "pyproject.toml").read_text()))
    assert PYPROJECT["tool"]["uv"].pop("constraint-dependencies")
    assert left == PYPROJECT
    assert bounds.first_command() == "uv run python scripts/train.py"


@pytest.mark.parametrize("category, module, is_error", [
    (DeprecationWarning, "start_training.theory.activation", True),
    (DeprecationWarning, "scripts.train", True),
    (DeprecationWarning, "test_bounds", True),
    (DeprecationWarning, "matplotlib._fontconfig_pattern", False),  # of pyparsing, caused by matplotlib 3.9
    (UserWarning, "matplotlib.axes", True),
    (RuntimeWarning, "numpy.core", True),  # of a number that the project passed to it
])  # fmt: skip
def test_warnings_are_errors_except_deprecation_warnings_between_libraries(category, module, is_error):
    try:
        warnings.warn_explicit("some", category, "some.py", 1, module)
    except category:
        assert is_error
    else:
        assert not is_error
