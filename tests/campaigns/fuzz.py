"""Wrong and odd settings of every script: each case ends well, or with status 1 or 2 and one line that names it.

A case is one or two settings of a script's config, or of an option of one of its groups, given values that they
should not have. Each starts in a fork of a process that has the libraries loaded, on tiny nets, in a directory where
another run lies, with 6 GB at most; one that is still at work after `--seconds` is interrupted, and has to end then.
"""

import argparse
import hashlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from start_training.config.errors import register_resolvers
from tests import forked
from tests.campaigns import verdict
from tests.campaigns.verdict import exit_status, try_all
from tests.composing import QUICK, start
from tests.small_runs import CONF

SCRIPTS = CONF.parent / "scripts"
LIMITED = Path(__file__).with_name("limited.py")
TINY = {
    **QUICK,
    "train": (*QUICK["train"], "trainer.max_epochs=1"),
    "range_test": (*QUICK["range_test"], "hydra.mode=RUN"),
    "search": (*QUICK["search"], "search.values=[1e-2,1e-4]", "search.rounds=0", "search.best=1", "seeds=1",
               "trainer.max_epochs=1"),
    "recipe": (*QUICK["recipe"], "baseline_lrs=[0.01]", "times=1", "seeds=1"),
    "weight_decay": ("datamodule.batch_size=512", "measure=3", "window=[0,3]", "seeds=1", "logger=csv"),
    "diagnose": ("nets=5", "model.depth=4"),
}  # fmt: skip
TYPED = {"evaluate": (), "draw": ()}  # scripts that take words and options in place of settings
WRONG = ("null", "''", "-1", "0", "1", "0.5", "1.5", "1e30", "1e-30", "9223372036854775808", "nan", "inf", "-inf",
         "foo", "true", "a b", "?", "[]", "[1]", "[foo]", "[[1]]", "[null]", "{}", "{a:1}", "/dev/null")  # fmt: skip
GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - {"experiment", "hydra"})
SKIPPED = {"mnist", "fashion_mnist", "cifar10", "cifar10_or_digits", "ddp_cpu", "ddp", "slurm_ddp"}  # data; processes
OTHER = ("hydra.run.dir=other", "hydra.run.dir=''", "hydra.run.dir=other/config.yaml", "hydra.run.dir=5",
         "hydra.sweep.dir=other", "+nosuch=1", "+experiment=foo", "size=foo", "depth=foo", "figure=foo")  # fmt: skip

# What is known to go wrong: a pattern of the command line, and the verdict; issue 18 mends these.
KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"--nosuch", "no one line", "argparse shows its usage and ends with 2"),
    (r"\bcompile=", "hang", "whatever is not false compiles, which Ctrl-C does not end within a minute"),
    (r"callbacks\.\w+\.modules=", "traceback", "name patterns that are no list are not refused"),
    (rf"\b({'|'.join(GROUPS)})=\S*\[", "traceback", "a list in place of a group's settings is not refused"),
    (rf"\b({'|'.join(GROUPS)})=-?\d", "names nothing", "Hydra does not name the group that a number is no option of"),
)


@dataclass(frozen=True)
class Case:
    """A script and what is typed after its name."""

    script: str
    words: tuple[str, ...]
    odd: tuple[str, ...]  # those of the words that are wrong

    def __str__(self) -> str:
        return shlex.join(["python", f"scripts/{self.script}.py", *self.words])


class Verdict(verdict.Verdict):
    """What came of a case: `ran`, `refused` (in one line), `interrupted` (was still at work), else what is wrong."""

    GOOD = ("ran", "refused", "interrupted")

    @property
    def known(self) -> str:
        """Why it is known to be so; empty where it is not."""
        command = str(self.case)
        return next((why for pattern, name, why in KNOWN if name == self.name and re.search(pattern, command)), "")


def leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a config, of nodes as well as of what lies in them."""
    for key in node:
        name = f"{prefix}{key}"
        yield name
        child = OmegaConf.to_container(node, resolve=False)[key]
        if isinstance(child, dict) and not OmegaConf.is_missing(node, key):
            yield from leaves(OmegaConf.create(child), f"{name}.")


@cache
def composed(script: str, choice: str) -> DictConfig | None:
    """The config with an option of a group; None where there is no such group, or it can't be composed."""
    words = [word for word in TINY[script] if not _same(word, choice)]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(script, [*words, *([choice] if choice else [])])
    except HydraException:
        return None


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _same(word: str, other: str) -> bool:
    """Whether two words set the same, or one sets a part of what the other does."""
    one, two = _key(word) + ".", _key(other) + "."
    return bool(other) and (one.startswith(two) or two.startswith(one))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem not in SKIPPED)


class Draw:
    """Random choices that stay what they are when other things to choose from come or go."""

    def __init__(self, seed: str) -> None:
        self.seed, self.count = seed, 0

    def number(self, of: object = "") -> float:
        """In [0, 1), of this draw and what it is of."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {self.count} {of}".encode()).digest()[:8]) / 2**64

    def random(self) -> float:
        self.count += 1
        return self.number()

    def choice(self, options: Sequence[Any]) -> Any:
        self.count += 1
        return min(
            enumerate(options), key=lambda option: self.number((option[1], options[: option[0]].count(option[1])))
        )[1]


def draw_case(script: str, random_: Draw) -> Case:
    """One wrong setting, or two."""
    if script in TYPED:
        return draw_arguments(script, random_)
    group = random_.choice([*GROUPS, *[""] * 3])
    choice = f"{group}={random_.choice(options(group))}" if group else ""
    config = composed(script, choice)
    if config is None:
        choice, config = "", composed(script, "")
    assert config is not None
    keys, odd = list(leaves(config)), []
    for _ in range(random_.choice((1, 1, 1, 2))):
        key, value = random_.choice(keys), random_.choice(WRONG)
        kind = random_.random()
        if kind < 0.8:
            odd.append(f"{key}={value}")
        elif kind < 0.85:
            odd.append(f"{random_.choice(GROUPS)}={random_.choice(('foo', 'null', 'none', '5', '[]'))}")
        elif kind < 0.9:
            odd.append(random_.choice((f"{key}s={value}", f"+{key}x={value}", f"~{key}", key, f"++{key}={value}")))
        elif kind < 0.95:
            odd.append(random_.choice(OTHER))
        else:
            odd.append(f"{key}.more={value}")
    words = [word for word in TINY[script] if not any(_same(word, each) for each in (*odd, choice))]
    chosen = [choice] if choice and not any(_key(each) == group for each in odd) else []
    where = [] if any("hydra.run.dir" in each for each in odd) else ["hydra.run.dir=here"]
    return Case(script, (*words, *chosen, *where, *odd), tuple(odd))


def draw_arguments(script: str, random_: Draw) -> Case:
    """Of evaluate.py and draw.py, whose settings are arguments."""
    places = ("other", "nowhere", ".", "", "other/config.yaml", "/dev/null", "runs")
    values = ("", "foo", "5", "-1", "null", "seed", "seed=0", "=", "a=b", "[1]", "nan")
    flags = {"evaluate": ("--accelerator", "--data-dir", "--nosuch"), "draw": ("--by", "--x", "--without", "--nosuch")}
    words = [random_.choice(("start", "figure_1b", "phase", "range_test", "", "foo", "5", "scaling", "two_papers"))]
    words = (words if script == "draw" else []) + [random_.choice(places)]
    odd = [f"{random_.choice(flags[script])}={random_.choice(values)}" for _ in range(random_.choice((0, 1, 1, 2)))]
    return Case(script, (*words, *odd), (*words, *odd))


def judge(case: Case, status: int, output: str, errors: str) -> str:
    """The name of the verdict on a case that has ended."""
    if "Traceback (most recent call last)" in output + errors:
        return "traceback"
    if status == 0 or (status == 3 and case.script in ("diagnose", "weight_decay")):
        return "ran"
    if status not in (1, 2):
        return f"status {status}"
    lines = [line for line in errors.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error:")]
    if len(said) != 1:
        return "no one line"
    if len(lines) != 1:
        return "more lines"
    return "refused" if any(names(word, said[0]) for word in (*case.odd, *case.words)) else "names nothing"


def names(word: str, line: str) -> bool:
    """Whether a line names a setting that was typed, a part of its name, or its value."""
    parts = [part for part in re.split(r"[.=@]", _key(word)) if part]
    value = word.partition("=")[2].strip("'[]{}") or word
    return any(re.search(rf"\b{re.escape(part)}\b", line) for part in parts) or value in line


def hashes(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def try_case(case: Case, other: Path, seconds: float) -> Verdict:
    """Start it beside a copy of a run, `other`, and judge what comes of it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        place = Path(scratch)
        subprocess.run(["cp", "-r", str(other), str(place / "other")], check=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA_", "WANDB_"))}
        environment = {**kept, "DATA_DIR": str(place / "data"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        before = hashes(place / "other")
        script = str(SCRIPTS / f"{case.script}.py")
        process = forked.start(LIMITED, script, *case.words, cwd=place, env=environment, new_session=True)
        try:
            name = judge(case, process.wait(seconds), process.stdout, process.stderr)
        except subprocess.TimeoutExpired:
            name = interrupt(process)
        if (
            name in ("ran", "refused", "interrupted")
            and hashes(place / "other") != before
            and "other" not in str(case.odd)
        ):
            name = "another run's files"
        if name == "refused" and hashes(place / "other") != before:
            name = "another run's files"
        return Verdict(case, name, f"{process.stdout}{process.stderr}")


def interrupt(process: forked.Forked) -> str:
    """Ctrl-C for a job that is still at work: one that goes on all the same hangs."""
    process.send_signal(signal.SIGINT)
    try:
        status = process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        return "hang"
    if "Traceback (most recent call last)" in process.stdout + process.stderr:
        return "traceback when interrupted"
    return "interrupted" if status in (0, 130) else f"status {status} when interrupted"


def table(verdicts: Sequence[Verdict]) -> str:
    """How many of each script have each verdict; known failures are told apart."""
    counts = Counter((each.case.script, f"known: {v}" if (v := each.known and each.name) else each.name)
                     for each in verdicts)  # fmt: skip
    columns = sorted({name for _, name in counts})
    lines = [f"{'script':15}" + "".join(f"{name:>{max(len(name), 8) + 2}}" for name in columns)]
    for script in sorted({script for script, _ in counts}):
        cells = "".join(f"{counts[script, name]:>{max(len(name), 8) + 2}}" for name in columns)
        lines.append(f"{script:15}{cells}")
    return "\n".join(lines)


def draw_cases(scripts: Sequence[str], *, seed: int, count: int) -> list[Case]:
    """`count` of them, the scripts in turns."""
    register_resolvers()
    turns = [(scripts[n % len(scripts)], n // len(scripts)) for n in range(count)]
    return [draw_case(script, Draw(f"{seed} {script} {turn}")) for script, turn in turns]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py fuzz", description=__doc__.splitlines()[0])
    every: Mapping[str, Any] = {**TINY, **TYPED}
    parser.add_argument("--seed", type=int, default=0, help="of the cases drawn (0)")
    parser.add_argument("--count", type=int, default=2000, help="cases in all (2000)")
    parser.add_argument("--script", choices=sorted(every), action="append", help="only those of this script")
    parser.add_argument("--seconds", type=float, default=60, help="until a job at work is interrupted (60)")
    parser.add_argument("--minutes", type=float, default=600, help="after which no case is begun (600)")
    parser.add_argument("--workers", type=int, default=2, help="cases at a time (2)")
    options_ = parser.parse_args(arguments)
    cases = draw_cases(options_.script or sorted(every), seed=options_.seed, count=options_.count)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        with redirect_stdout(None):
            other = start("train", Path(scratch) / "other", "trainer.max_epochs=1")
        verdicts = try_all(
            cases,
            lambda case: try_case(case, other, options_.seconds),
            workers=options_.workers,
            minutes=options_.minutes,
        )
    print(f"\n{table(verdicts)}\n")
    return exit_status(verdicts, "cases")
