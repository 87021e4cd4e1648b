"""Check that the project runs with the lowest versions of its dependencies that its bounds allow, and with the newest.

For each Python, a new environment is made in a copy of the tree without the constraints of pyproject.toml, which fix
the versions that CI uses, since an installation by a user only has the bounds. The first command of the README and the
default tests of the folders that use libraries most are run in it. There is one environment at a time, since the CUDA
build of torch takes 6 GB. Without `--versions`, the lowest versions are tried on the oldest Python and the newest on
the others. uv has to find the Pythons (with pyenv, list them in PYENV_VERSION, separated by colons).
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from start_training.cli.arguments import parse
from tests.campaigns.trees import copy_of

ROOT = Path(__file__).parents[2]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
SHOWN = ("torch", "pytorch-lightning", "hydra-core", "numpy", "pandas")
FOLDERS = ("tests/theory", "tests/lengths", "tests/callbacks")
RUN = ("environment", "first command", *FOLDERS)


def pythons(root: Path = ROOT) -> list[str]:
    """Return the versions of Python in the classifiers, oldest first."""
    classifiers = tomllib.loads((root / "pyproject.toml").read_text())["project"]["classifiers"]
    minors = [re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", text) for text in classifiers]
    return [f"3.{minor}" for minor in sorted(int(match[1]) for match in minors if match)]


def without_constraints(pyproject: str) -> str:
    """Return the text of pyproject.toml without the constraints of versions, only with bounds."""
    return re.sub(r"^constraint-dependencies = \[\n.*?^\]\n", "", pyproject, flags=re.DOTALL | re.MULTILINE)


def first_command(root: Path = ROOT) -> str:
    command = re.search(r"^uv run .*", (root / "README.md").read_text(), re.MULTILINE)
    assert command is not None
    return command[0]


@dataclass
class Trial:
    """A Python version, the resolution of its dependencies, and the outcomes of the commands run with them."""

    python: str
    versions: str
    installed: Sequence[str] = ("",) * len(SHOWN)
    outcomes: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def row(self) -> list[str]:
        return [self.python, self.versions, *self.installed, *(self.outcomes.get(name, "not run") for name in RUN)]


class Environment:
    """A copy of the tree and its environment made by uv, both in a scratch folder."""

    def __init__(self, root: Path, scratch: Path, trial: Trial, *, seconds: float) -> None:
        self.tree, self.scratch, self.trial, self.seconds = copy_of(root, scratch / "tree"), scratch, trial, seconds
        pyproject = self.tree / "pyproject.toml"
        pyproject.write_text(without_constraints(pyproject.read_text()))
        removed = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS")  # these affect only this process
        self.variables = {name: value for name, value in os.environ.items() if name not in removed} | {
            "UV_PYTHON": trial.python,
            "UV_RESOLUTION": RESOLUTIONS[trial.versions],
            "UV_PROJECT_ENVIRONMENT": str(scratch / "environment"),
            "MPLBACKEND": "agg",
        }

    def run(self, name: str, command: str) -> str | None:
        """Run a command and return its output; if it fails or is too slow, record a failure and return None."""
        start, log = time.monotonic(), self.scratch / "log"
        with log.open("w") as file:
            process = subprocess.Popen(command, shell=True, cwd=self.tree, env=self.variables, stdout=file,
                                       stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
            try:
                ended = f"exit status {process.wait(self.seconds)}"
            except subprocess.TimeoutExpired:
                ended = "out of time"
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # with its child processes
                    process.wait()
        passed, printed = process.returncode == 0, log.read_text(errors="replace")
        self.trial.outcomes[name] = f"{'passed' if passed else 'failed'}, {time.monotonic() - start:.0f} s"
        if passed:
            return printed
        self.trial.failures.append("\n    ".join([f"{command}: {ended}", *printed.splitlines()[-20:]]))
        return None

    def run_tests(self, folder: str) -> None:
        report = self.scratch / f"{Path(folder).name}.xml"
        self.run(folder, f"uv run pytest -q --color=no --junitxml={shlex.quote(str(report))} {folder}")
        if report.exists():
            _, seconds = self.trial.outcomes[folder].split(", ")
            self.trial.outcomes[folder] = f"{counts(report)}, {seconds}"


def counts(report: Path) -> str:
    """Return the numbers of tests that passed, failed and were skipped, from a report of pytest."""
    suite = ElementTree.parse(report).find("testsuite")
    assert suite is not None
    tests, skipped, failures, errors = (int(suite.attrib[name]) for name in ("tests", "skipped", "failures", "errors"))
    failed = failures + errors
    return f"{tests - failed - skipped} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def run_trial(trial: Trial, root: Path, *, directory: Path | None, seconds: float) -> None:
    """Make the environment of a trial, run all commands in it, and delete it."""
    finding = subprocess.run(["uv", "python", "find", trial.python], capture_output=True, text=True)
    if finding.returncode:
        trial.failures.append(f"uv finds no Python {trial.python}")
        return
    with tempfile.TemporaryDirectory(prefix="bounds-", dir=directory) as scratch:
        environment = Environment(root, Path(scratch), trial, seconds=seconds)
        if environment.run("environment", "uv sync") is None:
            return
        code = f"import json; from importlib.metadata import version; print(json.dumps([*map(version, {SHOWN})]))"
        printed = environment.run("versions", f"uv run python -c {shlex.quote(code)}")
        if printed:
            trial.installed = json.loads(printed.splitlines()[-1])
        environment.run("first command", first_command(root))
        for folder in FOLDERS:
            environment.run_tests(folder)


def table(trials: Sequence[Trial]) -> str:
    header = ["Python", "versions", *SHOWN, *RUN]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *(t.row() for t in trials)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py bounds", description=__doc__.splitlines()[0])
    known = pythons()
    parser.add_argument("--python", nargs="+", metavar="3.X", default=known, help=f"Pythons to try ({' '.join(known)})")
    parser.add_argument("--versions", choices=RESOLUTIONS, help="versions of the dependencies to try on every Python")
    parser.add_argument("--minutes", type=float, default=30, help="time limit of each command (30)")
    parser.add_argument("--directory", type=Path, help="folder of the environments, best on the disk of uv's cache")
    options = parse(parser, arguments)
    trials = [Trial(python, options.versions or ("lowest" if python == known[0] else "newest"))
              for python in options.python]  # fmt: skip
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # to delete 6 GB
    try:
        for trial in trials:
            run_trial(trial, ROOT, directory=options.directory, seconds=60 * options.minutes)
            print(table([trial]), *trial.failures, sep="\n", flush=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"\n{table(trials)}")
    return int(any(trial.failures for trial in trials))
