"""Choose the tests that may detect a fault: those that execute its line, or those of its folder."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.faults import Fault
from tests.campaigns.trees import paths
from tests.small_runs import TRAIN

MANY = 20


@dataclass(frozen=True)
class LineTests:
    """Coverage of the default tests.

    Attributes:
        of_line: Tests that executed each line, by (file, line number).
        seconds: Seconds of each test.
    """

    of_line: Mapping[tuple[str, int], Sequence[str]]
    seconds: Mapping[str, float]

    def of(self, fault: Fault, source: str, limit: float) -> list[str]:
        """Return tests that execute the line of a fault, up to `limit` seconds of them.

        If the line is only executed by an import, return tests that execute any line of its file.
        """
        number = fault.number(source)
        candidates = set(self.of_line.get((fault.file, number or 0), ()))
        if not candidates:
            candidates = {test for (file, _), tests in self.of_line.items() if file == fault.file for test in tests}
        folder = f"tests/{fault.file.split('/')[1]}/"
        chosen, total = [], 0.0
        for test in sorted(
            candidates, key=lambda test: (not test.startswith(folder), self.seconds.get(test, 0.0), test)
        ):
            total += self.seconds.get(test, 0.0)
            if chosen and total > limit:
                break
            chosen.append(test)
        return chosen

    @classmethod
    def read(cls, coverage_file: Path, report: Path, root: Path) -> "LineTests":
        """Read the coverage file and the JUnit report of a test run, without the tests that failed."""
        from coverage import CoverageData

        data = CoverageData(str(coverage_file))
        data.read()
        of_line = {}
        for file in data.measured_files():
            if not Path(file).is_relative_to(root):  # conf/ is found where it is installed
                continue
            name = Path(file).relative_to(root).as_posix()
            for line, contexts in data.contexts_by_lineno(file).items():
                of_line[name, line] = sorted({context.partition("|")[0] for context in contexts if context})
        seconds: Counter[str] = Counter()
        failed = set()
        for case in ElementTree.parse(report).iter("testcase"):
            seconds[_node_id(case)] += float(case.attrib["time"])
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(_node_id(case))
        if failed:
            print("these tests are not used, since they fail without a fault:", *sorted(failed), sep="\n  ")
        of_line = {line: [test for test in tests if test not in failed] for line, tests in of_line.items()}
        return cls(of_line, seconds)


def _node_id(case: ElementTree.Element) -> str:
    """Return the pytest node id of a test case of the JUnit report, which names the module by a dotted path."""
    return f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"


def own_tests(fault: Fault, root: Path) -> list[str]:
    """Return the test files of the folder of a fault, with the most relevant files first.

    These name the module of the fault or, if there are none, a module that imports it. If the folder has more than
    `MANY` test files, only the relevant ones are returned, since tests that train take minutes.
    """
    sources = {_module(path.relative_to(root).as_posix()): path.read_text()
               for folder in ("src", "scripts") for path in (root / folder).rglob("*.py")}  # fmt: skip
    folder = fault.file.split("/")[1]
    files = sorted((root / "tests" / folder).glob("test_*.py"))
    if folder in TRAIN:  # their tests run code of several of these folders
        files += sorted(file for other in TRAIN - {folder} for file in (root / "tests" / other).glob("test_*.py"))
    level, seen, nearest = {_module(fault.file)}, set[str](), []
    while level and not nearest:
        nearest = [file for file in files if any(_names(file.read_text(), module) for module in level)]
        seen |= level
        level = {name for name, text in sources.items() if any(_names(text, module) for module in level)} - seen
    chosen = nearest if nearest and len(files) > MANY else [*nearest, *(file for file in files if file not in nearest)]
    return [file.relative_to(root).as_posix() for file in chosen]


def _names(text: str, module: str) -> bool:
    folder, _, name = module.rpartition(".")
    return re.search(rf"{re.escape(module)}\b|from {re.escape(folder)} import .*\b{name}\b", text) is not None


def _module(file: str) -> str:
    """Return the dotted name by which tests import a file."""
    return re.sub(r"^src/", "start_training/", file).removesuffix(".py").replace("/", ".")


def measure(root: Path, coverage_file: Path, report: Path) -> None:
    """Run the default tests of a tree once, and record which lines each of them executes."""
    settings = coverage_file.with_name("settings.ini")  # coverage would delete a file named coverage.ini
    settings.write_text(f"[run]\nsource = start_training\ndata_file = {coverage_file}\n")
    command = [sys.executable, "-m", "pytest", "-q", "--cov=start_training", f"--cov-config={settings}",
               "--cov-context=test", "--cov-report=", f"--junitxml={report}", "-o", "junit_family=xunit1"]  # fmt: skip
    subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": paths(root)}, check=False)


def measured_tests(folder: Path, root: Path) -> LineTests:
    """Read the coverage measurement in a folder, after measuring the tree `root` if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    coverage_file, report = folder / "coverage", folder / "report.xml"
    if not report.exists():
        measure(root, coverage_file, report)
        (folder / "root").write_text(str(root.resolve()))
    return LineTests.read(coverage_file, report, Path((folder / "root").read_text()))
