"""Kill runs and sweeps, start the same command again, and compare the result with that of a run that is not killed.

A run is killed before each of its file-system operations, and after each opening of a file, when the file is empty. A
sweep of each launcher is killed at two random moments and at a random operation. Files whose names begin with a dot
may remain after a kill.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from start_training.cli.arguments import parse
from tests.kill_at import Killed, Step, read_steps, start_killed
from tests.replica_jobs import differences
from tests.same_run import assert_same_run
from tests.small_runs import SMALL
from tests.sweeps import assert_same_sweep, summaries, untouched

RUN = ("hydra.sweep.subdir=run", "trainer.max_epochs=2", "callbacks.lengths.flush_every_n_steps=8", "model.dropout=0.1")
GRID = ("seed=0,1", "trainer.max_epochs=20", "callbacks=start_of_training")
RATES = "optimizer.lr=0.01,1e30"  # the second run diverges
LAUNCHERS = {
    "basic": ("hydra/launcher=basic", RATES),
    "process": ("hydra/launcher=process", "hydra.launcher.jobs=2", RATES),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", RATES),
    # In float64 a run at a rate of 1e30 overflows slowly, and rounding decides between infinity and NaN.
    "replicas": ("hydra/launcher=replicas", "hydra.launcher.checkpoint_seconds=0", "trainer.precision=64-true",
                 "optimizer.lr=0.01,1e200"),
}  # fmt: skip
PATIENCE = 280  # seconds that a command may take on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What was killed, at which place, and what was wrong afterwards; `wrong` is empty if nothing was wrong."""

    what: str
    where: str
    wrong: str


def command(folder: Path, *overrides: str) -> tuple[str, ...]:
    return ("-m", *SMALL, f"hydra.sweep.dir={folder}", *overrides)


def run_reference(folder: Path, *overrides: str) -> list[Step]:
    """Run a command to its end without a kill, and return its file-system operations."""
    log = folder.parent / f"{folder.name}.log"
    finish(folder, *overrides, log=log)
    return [step for _, step in read_steps(log)]


def finish(folder: Path, *overrides: str, log: Path | None = None) -> None:
    process = start_killed(folder, *command(folder, *overrides), log=log)
    output, errors = process.communicate(PATIENCE)
    assert process.returncode == 0, f"status {process.returncode}: {errors or output}"


def places(steps: Sequence[Step]) -> list[Killed]:
    """Return the places at which to kill a run, so that its files are in different states."""
    changes = [step for step in steps if not step.name.startswith("mkdir") or step.nth == 1]
    empty = [Killed(step, after=True) for step in changes if step.name.startswith("open")]
    return [*(Killed(step) for step in changes), *empty]


def kill_run(reference: Path, root: Path, at: Killed) -> Outcome:
    """Kill a run, resume it as a job of a sweep, and compare it with the reference."""
    folder = Path(tempfile.mkdtemp(dir=root)) / "sweep"
    where = f"{'after' if at.after else 'before'} {at.step.name} ({at.step.nth})"

    def run_again() -> None:
        process = start_killed(folder, *command(folder, *RUN), at=at)
        process.communicate(PATIENCE)
        assert process.returncode == -9, f"was not killed, but ended with status {process.returncode}"
        finish(folder, *RUN)
        assert_same_run(reference / "run", folder / "run")
        assert visible(reference) == visible(folder), visible(reference) ^ visible(folder)

    return Outcome("run", where, wrong_with(run_again))


def visible(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if not path.name.startswith(".")}


def kill_sweep(reference: Path, steps: Sequence[Step], root: Path, launcher: str, seed: str) -> Outcome:
    folder, generator, where = Path(tempfile.mkdtemp(dir=root)) / "sweep", random.Random(seed), list[str]()
    overrides = (*GRID, *LAUNCHERS[launcher])

    def run_again() -> None:
        done: dict[Path, int] = {}
        for at in (None, Killed(generator.choice(steps), generator.random() < 0.5), None):
            process = start_killed(folder, *command(folder, *overrides), at=at)
            if at is None:  # kill it at a random moment after it has begun to write
                parts, deadline = written(folder), time.monotonic() + PATIENCE
                while written(folder) == parts and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(moment := generator.uniform(0, 1.5))
                process.kill()
            process.communicate(PATIENCE)
            where.append(f"{moment:.2f} s" if at is None else f"{'after' if at.after else 'before'} {at.step.name}")
            assert done.items() <= untouched(folder).items(), "files of a finished job were changed"
            done = untouched(folder)
        finish(folder, *overrides)
        assert done.items() <= untouched(folder).items(), "files of a finished job were changed"
        compare(reference, folder, launcher)

    wrong = wrong_with(run_again)
    return Outcome(launcher, ", ".join(where), wrong)


def written(folder: Path) -> int:
    return len(list(folder.glob("*/lengths/*.parquet")))


def compare(reference: Path, folder: Path, launcher: str) -> None:
    if launcher != "replicas":
        assert_same_sweep(reference, folder)
        return
    assert summaries(reference).keys() == summaries(folder).keys()
    for name in summaries(reference):  # up to rounding, since other groups sum in another order
        # Clues are computed from residuals of a trend of the metrics, and are much more sensitive to rounding.
        different = [key for key in differences(reference / name, folder / name) if ".clues." not in key]
        assert not different, f"{name}: {different[:3]}"


def wrong_with(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return ""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default="all", help="number of operations at which a run is killed (all)")
    parser.add_argument("--sweeps", type=int, default=5, help="number of killed sweeps of each launcher (5)")
    parser.add_argument("--launchers", nargs="*", choices=LAUNCHERS, default=[*LAUNCHERS])
    parser.add_argument("--at-a-time", type=int, default=2)
    parser.add_argument(
        "--root",
        type=Path,
        help="folder for the runs, on another file system than TMPDIR, where files are written first",
    )
    options = parse(parser, arguments)
    generator = random.Random(options.seed)
    with (
        tempfile.TemporaryDirectory(dir=options.root, ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(options.at_a_time) as pool,
    ):
        root = Path(folder)
        chosen = places(run_reference(root / "reference", *RUN))
        total = len(chosen)
        if options.steps != "all":
            chosen = sorted(generator.sample(chosen, min(total, int(options.steps))), key=chosen.index)
        kills: list[Callable[[], Outcome]] = [partial(kill_run, root / "reference", root, at) for at in chosen]
        for launcher in options.launchers if options.sweeps else []:
            steps = run_reference(root / launcher, *GRID, *LAUNCHERS[launcher])
            seeds = [f"{options.seed} {launcher} {number}" for number in range(options.sweeps)]
            kills += [partial(kill_sweep, root / launcher, steps, root, launcher, seed) for seed in seeds]
        failed = 0
        for outcome in pool.map(lambda kill: kill(), kills):
            line = f"{'WRONG' if outcome.wrong else 'same':5}  {outcome.what:8}  {outcome.where}  {outcome.wrong}"
            print(line.rstrip(), flush=True)
            failed += bool(outcome.wrong)
    print(f"{len(chosen)} of {total} places in a run, {len(kills) - len(chosen)} sweeps: {failed} with another result")
    return int(failed > 0)
