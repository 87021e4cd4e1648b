"""Count how many single faults in the source the default tests detect.

Each fault is put into a copy of the tree, and tests that execute its line are run there until one fails: first those of
its folder, then the fastest ones, up to `--seconds` of tests. Tests run in a fork of a process that has imported the
libraries. Controls, without a fault, have to pass. Existing tools are not suitable: mutmut takes `src` for a folder of
packages, and cosmic-ray starts a new interpreter for every fault, with 4 s of imports.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from start_training.cli.arguments import parse
from tests.campaigns.fault_tests import LineTests, measured_tests, own_tests
from tests.campaigns.faults import FOLDERS, Fault, sample
from tests.campaigns.trees import copy_of, paths

ROOT = Path(__file__).parents[2]
FIXED = Path(__file__).with_name("faults.json")
LIBRARIES = ("pytorch_lightning", "torchvision", "hydra", "pandas", "pyarrow.parquet", "matplotlib.pyplot", "wandb",
             "scipy.stats", "scipy.optimize", "sklearn.datasets", "torchmetrics", "rich", "pytest")  # fmt: skip
OWN = 280.0  # expected seconds of the tests of a folder
START = 60  # a fork may take this many seconds plus three times the time of its tests without a fault


def run_tests(tests: Sequence[str], root: Path, log: Path) -> int:
    """Run tests in a tree in a forked process until one fails, and return the id of the process."""
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
    """A fault, or None for a control, with its tests and their outcome."""

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
    """Run trials in parallel, one at a time in each tree, and call `record` with each finished trial."""
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
                os.killpg(pid, signal.SIGKILL)  # with its child processes
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
    parser.add_argument(
        "--seed", type=int, help="draw new faults; by default, those of tests/campaigns/faults.json are used"
    )
    parser.add_argument("--each", type=int, help="most faults of each folder (all, or 8 with --seed)")
    parser.add_argument("--folder", choices=FOLDERS, action="append", help="only faults of this folder of src")
    parser.add_argument("--seconds", type=float, default=60, help="most seconds of tests for one fault (60)")
    parser.add_argument("--own", action="store_true", help="run the default tests of the fault's folder only")
    parser.add_argument("--workers", type=int, default=2, help="number of faults at a time (2)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose tests are used (this one)")
    parser.add_argument("--draw", type=Path, help="write the faults to this file, and stop")
    parser.add_argument("--measured", type=Path, help="folder of an earlier coverage measurement")
    parser.add_argument("--out", type=Path, default=Path("mutate.json"), help="file for the outcomes (mutate.json)")
    options = parse(parser, arguments)
    if options.seed is None:
        faults = [Fault(**entry) for entry in json.loads(FIXED.read_text())]
    else:
        faults = sample(options.root, per_folder=options.each or 8, seed=options.seed)
    if options.draw:
        options.draw.write_text("[\n" + ",\n".join(json.dumps(asdict(fault)) for fault in faults) + "\n]\n")
        return 0
    faults = [fault for fault in faults if not options.folder or fault.file.split("/")[1] in options.folder]
    if options.seed is None and options.each:
        by_folder: dict[str, list[Fault]] = {}
        for fault in faults:
            by_folder.setdefault(fault.file.split("/")[1], []).append(fault)
        faults = [fault for of_folder in by_folder.values() for fault in of_folder[: options.each]]
    with tempfile.TemporaryDirectory() as scratch:
        return score(faults, options, Path(scratch))


def plan_trials(
    faults: Sequence[Fault], tests: LineTests | None, options: argparse.Namespace, scratch: Path
) -> list[Trial]:
    """Return a trial for each fault, and a control before the first fault of each folder.

    Trials that need no run already have their outcome.
    """
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
            trials[-1].outcome = "survived"  # no default test executes its file
    return trials


def score(faults: Sequence[Fault], options: argparse.Namespace, scratch: Path) -> int:
    """Run the trials of all faults, print and write their outcomes, and return 0 if every control passed, else 1."""
    os.environ.update(OMP_NUM_THREADS="1", PYTHONHASHSEED="0", MPLBACKEND="agg")
    roots = [copy_of(options.root, scratch / str(worker)) for worker in range(options.workers)]
    tests = None if options.own else measured_tests(options.measured or scratch / "measured", roots[0])
    for library in LIBRARIES:
        __import__(library)
    trials = plan_trials(faults, tests, options, scratch)
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
    """Print the number of killed faults of each folder."""
    faults = [result for result in results if result["fault"]]
    print(f"\n{'folder':14} faults  killed")
    for folder in (*FOLDERS, "all"):
        scored = [r for r in faults if folder in ("all", r["fault"]["file"].split("/")[1]) and r["outcome"] != "gone"]
        if scored:
            print(f"{folder:14} {len(scored):6}  {sum(r['outcome'].startswith('killed') for r in scored):6}")
    gone = sum(result["outcome"] == "gone" for result in faults)
    controls = [result["outcome"] == "survived" for result in results if not result["fault"]]
    print(f"faults whose line no longer exists: {gone}; controls that passed: {sum(controls)} of {len(controls)}")
