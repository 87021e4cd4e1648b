"""How many single faults in the source the default tests find.

Every fault is put into a copy of the tree, and the tests that run its line are run there until one fails: those of
its own folder first, then the fastest, up to `--seconds` of them. Each starts as a fork of one process that has the
libraries loaded. Controls, which change nothing, have to pass. mutmut takes `src` for a layout's folder rather than a
package, and cosmic-ray starts a new interpreter for every fault, 4 s of imports each: hence this small one.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.campaigns.faults import FOLDERS, Fault, sample
from tests.small_runs import TRAIN

ROOT = Path(__file__).parents[2]
FIXED = Path(__file__).with_name("faults.json")
LIBRARIES = ("pytorch_lightning", "torchvision", "hydra", "pandas", "pyarrow.parquet", "matplotlib.pyplot", "wandb",
             "scipy.stats", "scipy.optimize", "sklearn.datasets", "torchmetrics", "rich", "pytest")  # fmt: skip
MANY = 20
OWN = 280.0  # seconds that a folder's tests are expected to take
START = 60  # seconds a fork may take beyond three times what its tests took without a fault


@dataclass(frozen=True)
class Tests:
    """Which default tests ran which lines, and how long each took."""

    of_line: Mapping[tuple[str, int], Sequence[str]]
    seconds: Mapping[str, float]

    def of(self, fault: Fault, source: str, limit: float) -> list[str]:
        """Those that run the fault's line; of a line that imports run, all that run a line of its file."""
        number = fault.number(source)
        found = set(self.of_line.get((fault.file, number or 0), ()))
        if not found:
            found = {test for (file, _), tests in self.of_line.items() if file == fault.file for test in tests}
        own = f"tests/{fault.file.split('/')[1]}/"
        chosen, total = [], 0.0
        for test in sorted(found, key=lambda test: (not test.startswith(own), self.seconds.get(test, 0.0), test)):
            total += self.seconds.get(test, 0.0)
            if chosen and total > limit:
                break
            chosen.append(test)
        return chosen

    @classmethod
    def read(cls, coverage_file: Path, report: Path, root: Path) -> "Tests":
        from coverage import CoverageData

        data = CoverageData(str(coverage_file))
        data.read()
        of_line = {}
        for file in data.measured_files():
            if not Path(file).is_relative_to(root):  # conf/, which is found where it is installed
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
            print("not asked, as they fail without a fault:", *sorted(failed), sep="\n  ")
        of_line = {line: [test for test in tests if test not in failed] for line, tests in of_line.items()}
        return cls(of_line, seconds)


def _node_id(case: ElementTree.Element) -> str:
    """pytest's name of a test from its report's: the module is a dotted path."""
    return f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"


def own_tests(fault: Fault, root: Path) -> list[str]:
    """The test files of a fault's folder, nearest first: they name its module, or one that imports it, or so on.

    Of more than `MANY` files only the nearest: all of those that train take minutes.
    """
    sources = {_module(path.relative_to(root).as_posix()): path.read_text()
               for folder in ("src", "scripts") for path in (root / folder).rglob("*.py")}  # fmt: skip
    folder = fault.file.split("/")[1]
    files = sorted((root / "tests" / folder).glob("test_*.py"))
    if folder in TRAIN:  # their tests go through several of these folders
        files += sorted(file for other in TRAIN - {folder} for file in (root / "tests" / other).glob("test_*.py"))
    level, seen, nearest = {_module(fault.file)}, set[str](), []
    while level and not nearest:
        nearest = [file for file in files if any(_names(file.read_text(), module) for module in level)]
        seen |= level
        level = {name for name, text in sources.items() if any(_names(text, module) for module in level)} - seen
    kept = nearest if nearest and len(files) > MANY else [*nearest, *(file for file in files if file not in nearest)]
    return [file.relative_to(root).as_posix() for file in kept]


def _names(text: str, module: str) -> bool:
    folder, _, name = module.rpartition(".")
    return re.search(rf"{re.escape(module)}\b|from {re.escape(folder)} import .*\b{name}\b", text) is not None


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def copy_of(root: Path, into: Path) -> Path:
    """A copy of the files of a working tree that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if os.path.lexists(root / name):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, into / name, follow_symlinks=False)  # conf/readout_initializer is a link
    commit = ["-c", "user.name=-", "-c", "user.email=-", "commit", "--quiet", "-m", "copy"]
    for words in (["init", "--quiet"], ["add", "--all"], commit):  # some tests ask git of their tree
        subprocess.run(["git", *words], cwd=into, check=True)
    return into


def measure(root: Path, coverage_file: Path, report: Path) -> None:
    """Run the default tests of a tree once, noting which lines each runs."""
    settings = coverage_file.with_name("settings.ini")  # not coverage.ini, which coverage deletes
    settings.write_text(f"[run]\nsource = start_training\ndata_file = {coverage_file}\n")
    command = [sys.executable, "-m", "pytest", "-q", "--cov=start_training", f"--cov-config={settings}",
               "--cov-context=test", "--cov-report=", f"--junitxml={report}", "-o", "junit_family=xunit1"]  # fmt: skip
    subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": paths(root)}, check=False)


def paths(root: Path) -> str:
    """Where a tree's own packages are found before the installed ones: tests, and start_training by a link to src."""
    return os.pathsep.join([str(root), str(root / ".typing")])


def run_tests(tests: Sequence[str], root: Path, log: Path) -> int:
    """Fork, and run tests in a tree until one fails; the process's id."""
    pid = os.fork()
    if pid:
        return pid
    status = 3
    try:
        os.setsid()
        with log.open("w") as file:
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("start_training", "tests", "scripts")]:
            del sys.modules[name]
        os.chdir(root)
        os.environ["PYTHONPATH"] = paths(root)
        sys.path[:0] = paths(root).split(os.pathsep)
        import pytest

        chosen = Path(f"{log}.tests")
        chosen.write_text("\n".join(tests))
        options = [
            "-x",
            "-q",
            "-rf",
            "-n0",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
        ]
        status = pytest.main([*options, f"@{chosen}"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(int(status))


@dataclass
class Trial:
    """A fault (None: a control), its tests, and what came of them."""

    fault: Fault | None
    tests: list[str]
    log: Path
    expected: float
    outcome: str = ""
    killer: str = ""

    def end(self, status: int | None) -> None:
        if status is None:
            self.outcome = "killed (time)"
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            self.outcome = "survived"
        else:
            self.outcome = "killed"
            lines = self.log.read_text(errors="replace").splitlines()
            failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
            self.killer = failed[0][:200] if failed else " ".join(lines[-3:])


def run_trials(trials: Sequence[Trial], roots: Sequence[Path], record) -> None:
    """Run them, one in each tree at a time."""
    waiting, free, running = list(trials), list(roots), {}
    while waiting or running:
        while waiting and free:
            trial, root = waiting.pop(0), free.pop()
            if trial.fault:
                file = root / trial.fault.file
                original = file.read_text()
                file.write_text(trial.fault.put_into(original))
            running[run_tests(trial.tests, root, trial.log)] = (
                trial,
                root,
                original if trial.fault else "",
                time.monotonic(),
            )
        for pid, (trial, root, original, start) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            late = not ended and time.monotonic() - start > START + 3 * trial.expected
            if not ended and not late:
                continue
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # and what it has started
            if late:
                os.waitpid(pid, 0)
            trial.end(None if late else status)
            if trial.fault:
                (root / trial.fault.file).write_text(original)
            del running[pid]
            free.append(root)
            record(trial)
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py mutate", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="draw new faults; without it, those of tests/campaigns/faults.json")
    parser.add_argument("--each", type=int, default=8, help="faults of each folder, with --seed (8)")
    parser.add_argument("--folder", choices=FOLDERS, action="append", help="only those of this folder of src")
    parser.add_argument("--seconds", type=float, default=60, help="of tests at most for one fault (60)")
    parser.add_argument("--own", action="store_true", help="all default tests of a fault's own folder, and no others")
    parser.add_argument("--workers", type=int, default=2, help="faults at a time (2)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose tests are tried (this one)")
    parser.add_argument("--draw", type=Path, help="write the faults to this file, and stop")
    parser.add_argument("--measured", type=Path, help="folder for which lines each test runs; measured where empty")
    parser.add_argument("--out", type=Path, default=Path("mutate.json"), help="what came of each (mutate.json)")
    options = parser.parse_args(arguments)
    if options.seed is None:
        faults = [Fault(**each) for each in json.loads(FIXED.read_text())]
    else:
        faults = sample(options.root, each=options.each, seed=options.seed)
    if options.draw:
        options.draw.write_text("[\n" + ",\n".join(json.dumps(asdict(fault)) for fault in faults) + "\n]\n")
        return 0
    faults = [fault for fault in faults if not options.folder or fault.file.split("/")[1] in options.folder]
    with tempfile.TemporaryDirectory() as scratch:
        return score(faults, options, Path(scratch))


def measured_tests(folder: Path, root: Path) -> Tests:
    """What a folder holds of an earlier measurement; measured in the tree `root` where it holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    coverage_file, report = folder / "coverage", folder / "report.xml"
    if not report.exists():
        measure(root, coverage_file, report)
        (folder / "root").write_text(str(root.resolve()))
    return Tests.read(coverage_file, report, Path((folder / "root").read_text()))


def score(faults: Sequence[Fault], options: argparse.Namespace, scratch: Path) -> int:
    """Print and write what came of each fault; 0 if every control passed."""
    os.environ.update(OMP_NUM_THREADS="1", PYTHONHASHSEED="0", MPLBACKEND="agg")
    roots = [copy_of(options.root, scratch / str(worker)) for worker in range(options.workers)]
    tests = None if options.own else measured_tests(options.measured or scratch / "measured", roots[0])
    for library in LIBRARIES:
        __import__(library)
    trials = []
    for index, fault in enumerate(faults):
        source = (options.root / fault.file).read_text() if (options.root / fault.file).exists() else ""
        if tests is None:
            chosen, expected = own_tests(fault, options.root), OWN
        else:
            chosen = tests.of(fault, source, options.seconds) if fault.number(source) else []
            expected = sum(tests.seconds.get(test, 0.0) for test in chosen)
        first = index == 0 or faults[index - 1].file.split("/")[1] != fault.file.split("/")[1]
        if first and chosen:
            trials.append(Trial(None, chosen, scratch / f"{index}c.log", expected))
        trials.append(Trial(fault, chosen, scratch / f"{index}.log", expected))
        if not fault.number(source):
            trials[-1].outcome = "gone"
        elif not chosen:
            trials[-1].outcome = "survived"  # no default test runs its file
    results: list[dict] = []

    def record(trial: Trial) -> None:
        what = str(trial.fault or f"control: {len(trial.tests)} tests, first {trial.tests[0]}")
        print(f"{trial.outcome:13}  {what}", flush=True)
        results.append({"fault": asdict(trial.fault) if trial.fault else None, "outcome": trial.outcome,
                        "killer": trial.killer, "tests": len(trial.tests)})  # fmt: skip
        options.out.write_text(json.dumps(results, indent=1))

    for trial in trials:
        if trial.outcome:
            record(trial)
    run_trials([trial for trial in trials if not trial.outcome], roots, record)
    print_score(results)
    return int(any(result["fault"] is None and result["outcome"] != "survived" for result in results))


def print_score(results: Sequence[Mapping]) -> None:
    faults = [result for result in results if result["fault"]]
    print(f"\n{'folder':14} faults  killed")
    for folder in (*FOLDERS, "all"):
        its = [r for r in faults if folder in ("all", r["fault"]["file"].split("/")[1]) and r["outcome"] != "gone"]
        if its:
            print(f"{folder:14} {len(its):6}  {sum(r['outcome'].startswith('killed') for r in its):6}")
    gone = sum(result["outcome"] == "gone" for result in faults)
    controls = [result["outcome"] == "survived" for result in results if not result["fault"]]
    print(f"gone with their line: {gone}; controls that passed: {sum(controls)} of {len(controls)}")
