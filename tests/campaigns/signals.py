"""Send signals to jobs at random moments, and check how they end and the result of the same command afterwards.

As references, runs, simulations and sweeps of all launchers run once without a signal. Then the jobs get SIGINT or
SIGTERM, SIGINT twice, or SIGINT together with all their child processes (as from Ctrl-C in a terminal) at a random
moment from the start of the interpreter on, and are started again. The exit status has to be 128 + the number of the
signal, or 0 if the job had ended before; no traceback may be printed; each summary has to state what happened; and the
job that is started again has to give the result of the reference.
"""

import argparse
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from start_training.cli.arguments import parse
from start_training.runs.directory import FINISHED, RunDirectory
from tests import forked
from tests.campaigns import verdict
from tests.campaigns.verdict import exit_status, try_all
from tests.composing import QUICK
from tests.replica_jobs import differences
from tests.same_run import assert_same_run
from tests.small_runs import CONF

SCRIPTS = CONF.parent / "scripts"
# What the process of submitit that controls a local job prints when it gets SIGINT, too.
OF_SUBMITIT = re.compile(
    r"Traceback \(most recent call last\):\n(?:  .*\n)*  File .*/submitit/local/(?:.*\n)(?:  .*\n)*KeyboardInterrupt\n"
)
AT_A_PLACE = Path(__file__).with_name("signal_places.py")
SIGNALS = {
    "SIGINT": (signal.SIGINT,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
    "Ctrl-C": (signal.SIGINT,),  # sent to all processes of the job
}


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


def same_up_to_rounding(one: Path, other: Path) -> None:
    """Compare sweeps whose jobs may be trained in other groups, which sum in another order."""
    runs = [path.parent.relative_to(one) for path in sorted(one.rglob("config.yaml"))]
    assert runs == [path.parent.relative_to(other) for path in sorted(other.rglob("config.yaml"))]
    for run in runs:
        different = [
            key for key in differences(one / run, other / run) if ".clues." not in key and ".commit" not in key
        ]
        assert not different, f"{run}: {different[:3]}"


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
REPLICAS = ("hydra/launcher=replicas", "trainer.precision=64-true")
SWEEPS = {
    "sweep": (),
    "process": ("hydra/launcher=process", "hydra.launcher.jobs=2"),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit": ("hydra/launcher=submitit_local",),
    "ranks": ("trainer=ddp_cpu", "hydra/launcher=process"),
}
KINDS = {
    "train": Kind("train", QUICK["train"], "hydra.run.dir", same_runs),
    "ddp": Kind("train", (*QUICK["train"], "trainer=ddp_cpu"), "hydra.run.dir", same_runs),
    **{name: Kind("train", (*SWEEP, *words), "hydra.sweep.dir", same_runs) for name, words in SWEEPS.items()},
    "replicas": Kind("train", (*SWEEP, *REPLICAS), "hydra.sweep.dir", same_up_to_rounding),
    "replicas in processes": Kind(
        "train", (*SWEEP, *REPLICAS, "hydra.launcher.inner=process"), "hydra.sweep.dir", same_up_to_rounding
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
    """A kind of job, the signals sent to it, and when: at a place, or at a fraction of the duration of the job."""

    kind: str
    signals: str
    share: float = 0.0
    place: str = ""

    def __str__(self) -> str:
        kind = KINDS[self.kind]
        words = shlex.join(["python", f"scripts/{kind.script}.py", *kind.words, f"{kind.directory}=DIRECTORY"])
        return f"{self.signals} at {self.place or format(self.share, '.3f')} of {words}"


class Verdict(verdict.Verdict):
    """The outcome of a case: `as undisturbed`, `had ended`, or the kind of failure."""

    GOOD = ("as undisturbed", "had ended")
    known = ""


def begin(kind: Kind, directory: Path, *before: str, fresh: bool = False) -> "forked.Forked | subprocess.Popen[str]":
    """Start a job in a new interpreter, or else in a fork of a process that has imported the libraries.

    Args:
        before: Script and arguments to put before the script of the job.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HYDRA_")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONF.parent)}
    words = [*before, str(SCRIPTS / f"{kind.script}.py"), *kind.command(directory)]
    if not fresh:
        return forked.start(*words, cwd=directory.parent, env=environment, new_session=True)
    return subprocess.Popen(
        [sys.executable, *words], cwd=directory.parent, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def disturb(case: Case, reference: Path, seconds: float, limit: float) -> Verdict:
    """Send the signals to a job, start it again, and compare its result with the reference."""
    kind, signums = KINDS[case.kind], SIGNALS[case.signals]
    with tempfile.TemporaryDirectory(prefix="signals-") as scratch:
        directory = Path(scratch) / "here"
        if case.place:
            names = ",".join(signum.name for signum in signums)
            process = begin(kind, directory, str(AT_A_PLACE), case.place, names)
        else:
            process = begin(kind, directory, fresh=True)
            time.sleep(case.share * seconds)
            for signum in signums:
                if process.poll() is None:
                    (os.killpg if case.signals == "Ctrl-C" else os.kill)(process.pid, signum)
                time.sleep(0.05)
        try:
            output = "".join(process.communicate(timeout=limit))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Verdict(case, "hang", "".join(process.communicate()))
        if name := ending(case, process.returncode or 0, output):
            return Verdict(case, name, output)
        if untrue := untrue_summary(directory):
            return Verdict(case, "untrue summary", f"{output}\n{untrue}")
        again = begin(kind, directory)
        try:
            output = "".join(again.communicate(timeout=limit))
            if again.returncode != 0:
                return Verdict(case, f"status {again.returncode} when started again", output)
            kind.assert_same(reference, directory)
        except subprocess.TimeoutExpired:
            os.killpg(again.pid, signal.SIGKILL)
            return Verdict(case, "hang when started again")
        except (AssertionError, OSError, KeyError) as error:
            return Verdict(case, "another result", f"{output}\n{error!r}")
        return Verdict(case, "as undisturbed" if process.returncode else "had ended")


def ending(case: Case, status: int, output: str) -> str:
    """Return what is wrong with the exit status or the output of a job that received signals, "" if nothing is."""
    output = OF_SUBMITIT.sub("", output)
    if "Traceback (most recent call last)" in output or "Error" in output:
        return "traceback"
    status = 128 - status if status < 0 else status  # the shell's convention
    allowed = (128 + SIGNALS[case.signals][0], *([] if case.place else [0]))
    return "" if status in allowed else f"status {status}"


def untrue_summary(directory: Path) -> str:
    """Return which summary of a run states something else than a signal can have caused, "" if none does."""
    for file in sorted(directory.rglob("summary.json")):
        run = RunDirectory(file.parent)
        summary = run.summary() or {}
        if summary["status"] in FINISHED:
            continue
        if summary["status"] != "interrupted" or not summary["reason"].startswith("SIG"):
            return f"{file.parent.name}: {summary['status']}, {summary['reason']}"
        if run.checkpoint.exists():
            step = torch.load(run.checkpoint, weights_only=True)["global_step"]
            if step > summary["steps"]:  # it is older if a rank ended before the others could stop together
                return f"{file.parent.name}: {summary['steps']} steps, but the checkpoint is of step {step}"
    return ""


def run_reference(kind: Kind, directory: Path, limit: float, *, fresh: bool = True) -> float:
    """Run a job without a signal, and return its duration in seconds."""
    began = time.monotonic()
    process = begin(kind, directory, fresh=fresh)
    output = process.communicate(timeout=limit)
    assert process.returncode == 0, output
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
    options = parse(parser, arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell starts in the background
    kinds = options.kind or list(KINDS)
    with tempfile.TemporaryDirectory(prefix="signals-") as scratch:
        references = {name: Path(scratch) / name / "here" for name in kinds}
        for reference in references.values():
            reference.parent.mkdir()
        run_reference(KINDS[kinds[0]], Path(scratch) / "warm", options.seconds)  # the files are then in memory
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
        *(f"{kind:24}{signals:14}{name:40}{counts[kind, signals, name]:4}" for kind, signals, name in sorted(counts)),
        sep="\n",
    )
    return exit_status(verdicts, "jobs disturbed")
