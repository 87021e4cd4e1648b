"""Send signals to jobs at random moments, and check their exit status and the result of the same command afterwards.

As references, a training run, a sweep in one process, a sweep of the process launcher, a simulation and a sweep of
range tests run once without a signal, in a fork of a process that has imported the libraries. Then the jobs get SIGINT,
SIGTERM, or SIGINT twice at a random moment between start and end, and are started again. The exit status has to be 128
+ the number of the signal, or 0 if the job had ended before; no traceback may be printed; and the job that is started
again has to give the result of the reference.
"""

import argparse
import os
import random
import shlex
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests import forked
from tests.campaigns import verdict
from tests.campaigns.verdict import exit_status, try_all
from tests.composing import QUICK
from tests.same_run import assert_same_run
from tests.small_runs import CONF

SCRIPTS = CONF.parent / "scripts"
SIGNALS = {
    "SIGINT": (signal.SIGINT,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
}
# Known failures (issue 18): the beginnings of the names of kind, signals and verdict, and the reason.
KNOWN: tuple[tuple[str, str, str, str], ...] = (
    ("", "SIGINT twice", "traceback", "the second signal arrives while the interpreter shuts down after the first"),
    ("", "SIGINT twice", "status 1", "the second signal is interpreted as a failure of the job"),
)


def rows_of(table: str, key: str) -> Callable[[Path], pd.DataFrame]:
    """Return a function that reads the rows of a table of a run, or of all runs of a sweep."""

    def read(directory: Path) -> pd.DataFrame:
        runs = [path.parent for path in sorted(directory.rglob("config.yaml"))]
        rows = [pd.read_parquet(run / table).assign(directory=run.relative_to(directory).as_posix()) for run in runs]
        return pd.concat(rows, ignore_index=True).sort_values(["directory", key], ignore_index=True)

    return read


def same_runs(one: Path, other: Path) -> None:
    runs = [path.parent.relative_to(one) for path in sorted(one.rglob("config.yaml"))]
    assert runs == [path.parent.relative_to(other) for path in sorted(other.rglob("config.yaml"))]
    for run in runs:
        assert_same_run(one / run, other / run)


def same_rows(table: str, key: str) -> Callable[[Path, Path], None]:
    read = rows_of(table, key)
    return lambda one, other: pd.testing.assert_frame_equal(read(one), read(other), check_exact=True)


@dataclass(frozen=True)
class Kind:
    """A kind of job: a script, its arguments, the setting of its directory, and the comparison of two results."""

    script: str
    words: tuple[str, ...]
    directory: str
    assert_same: Callable[[Path, Path], None]

    def command(self, directory: Path) -> list[str]:
        checkpoint = directory / "checkpoints" / "last.ckpt"
        resume = [f"ckpt_path={checkpoint}"] if self.directory == "hydra.run.dir" and checkpoint.exists() else []
        return [*self.words, f"{self.directory}={directory}", *resume]


SWEEP = ("-m", *QUICK["train"], "trainer.max_epochs=2", "seed=0,1,2")
KINDS = {
    "train": Kind("train", QUICK["train"], "hydra.run.dir", same_runs),
    "sweep": Kind("train", SWEEP, "hydra.sweep.dir", same_runs),
    "processes": Kind(
        "train", (*SWEEP, "hydra/launcher=process", "hydra.launcher.jobs=2"), "hydra.sweep.dir", same_runs
    ),
    "simulate": Kind(
        "simulate",
        ("nets=4000", "model.depth=20", "model.width=50", "progress=false", "logger=csv"),
        "hydra.run.dir",
        same_rows("lengths", "net"),
    ),
    "range_test": Kind(
        "range_test", (*QUICK["range_test"], "seed=0,1,2"), "hydra.sweep.dir", same_rows("range_test", "step")
    ),
}


@dataclass(frozen=True)
class Case:
    """A kind of job, the signals sent to it, and their time as a fraction of the duration of the job."""

    kind: str
    signals: str
    share: float

    def __str__(self) -> str:
        kind = KINDS[self.kind]
        words = shlex.join(["python", f"scripts/{kind.script}.py", *kind.words, f"{kind.directory}=DIRECTORY"])
        return f"{self.signals} at {self.share:.3f} of {words}"


class Verdict(verdict.Verdict):
    """The outcome of a case: `as undisturbed`, `had ended`, or the kind of failure."""

    GOOD = ("as undisturbed", "had ended")

    @property
    def known(self) -> str:
        """Reason of a known failure; empty for a new one."""
        names = (self.case.kind, self.case.signals, self.name)
        return next((why for *known, why in KNOWN if all(map(str.startswith, names, known))), "")


def begin(kind: Kind, directory: Path) -> forked.Forked:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONF.parent)}
    script, place = SCRIPTS / f"{kind.script}.py", directory.parent
    return forked.start(script, *kind.command(directory), cwd=place, env=environment, new_session=True)


def disturb(case: Case, reference: Path, seconds: float, limit: float) -> Verdict:
    """Send the signals to a job, start it again, and compare its result with the reference."""
    kind = KINDS[case.kind]
    with tempfile.TemporaryDirectory(prefix="signals-") as scratch:
        directory = Path(scratch) / "here"
        process = begin(kind, directory)
        time.sleep(case.share * seconds)
        for signum in SIGNALS[case.signals]:
            process.send_signal(signum)
            time.sleep(0.05)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Verdict(case, "hang", process.stderr)
        status = 128 - status if status < 0 else status  # the shell's convention
        output = process.stdout + process.stderr
        if status == 0:
            name = "had ended"
        elif "Traceback (most recent call last)" in output:
            return Verdict(case, "traceback" if directory.exists() else "traceback before the first file", output)
        elif status != 128 + SIGNALS[case.signals][0]:
            return Verdict(case, f"status {status}", output)
        else:
            name = "as undisturbed"
        again = begin(kind, directory)
        try:
            if again.wait(limit) != 0:
                return Verdict(case, f"status {again.returncode} when started again", again.stdout + again.stderr)
            kind.assert_same(reference, directory)
        except subprocess.TimeoutExpired:
            os.killpg(again.pid, signal.SIGKILL)
            return Verdict(case, "hang when started again", again.stderr)
        except (AssertionError, OSError, KeyError) as error:
            return Verdict(case, "another result", f"{output}\n{error!r}")
        return Verdict(case, name)


def run_reference(kind: Kind, directory: Path, limit: float) -> float:
    """Run a job without a signal, and return its duration in seconds."""
    began = time.monotonic()
    process = begin(kind, directory)
    assert process.wait(limit) == 0, process.stderr
    return time.monotonic() - began


def draw_cases(kinds: Sequence[str], *, seed: int, count: int) -> list[Case]:
    """Draw cases of all kinds and signals in turns, at random moments."""
    signals = list(SIGNALS)
    return [
        Case(kinds[n % len(kinds)], signals[n // len(kinds) % len(signals)], random.Random(f"{seed} {n}").random())
        for n in range(count)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py signals", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (0)")
    parser.add_argument("--count", type=int, default=200, help="number of disturbed jobs (200)")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="only this kind of job")
    parser.add_argument("--seconds", type=float, default=240, help="seconds after which a job counts as hanging (240)")
    parser.add_argument("--minutes", type=float, default=600, help="minutes after which no job begins (600)")
    parser.add_argument("--workers", type=int, default=2, help="number of jobs at a time (2)")
    options = parser.parse_args(arguments)
    kinds = options.kind or list(KINDS)
    with tempfile.TemporaryDirectory(prefix="signals-") as scratch:
        references = {name: Path(scratch) / name / "here" for name in kinds}
        for reference in references.values():
            reference.parent.mkdir()
        run_reference(KINDS[kinds[0]], Path(scratch) / "warm", options.seconds)  # the fork server imports the libraries
        times = {name: run_reference(KINDS[name], reference, options.seconds) for name, reference in references.items()}
        cases = draw_cases(kinds, seed=options.seed, count=options.count)
        verdicts = try_all(
            cases,
            lambda case: disturb(case, references[case.kind], times[case.kind], options.seconds),
            workers=options.workers,
            minutes=options.minutes,
        )
    counts = Counter((v.case.kind, v.case.signals, f"{v.name}{' (known)' * bool(v.known)}") for v in verdicts)
    print(
        *(f"{kind:12}{signals:14}{name:40}{counts[kind, signals, name]:4}" for kind, signals, name in sorted(counts)),
        sep="\n",
    )
    return exit_status(verdicts, "jobs disturbed")
