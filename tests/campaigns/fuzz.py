"""Try wrong and unusual settings of every script, which has to succeed or to print one line that names the setting.

A case has one or two settings with values that they should not have, from the config of a script or from an option of
one of its groups. It runs in a fork of a process that has imported the libraries, on tiny nets, in a directory that
has another run, with at most 6 GB of memory. A case that still runs after `--seconds` is interrupted, and has to end
then. The exit status of an error has to be 1 or 2.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from start_training.cli.arguments import parse
from tests import forked
from tests.campaigns import verdict
from tests.campaigns.fuzz_cases import TINY, TYPED, Case, draw_cases, key_of
from tests.campaigns.verdict import exit_status, try_all
from tests.composing import start
from tests.small_runs import CONF

SCRIPTS = CONF.parent / "scripts"
LIMITED = Path(__file__).with_name("limited.py")
_parse = OverridesParser.create().parse_override
ALLOWED = re.compile(
    r"\b(must|no such|choose|set|type|needs|[Tt]ry|train with|give|not a valid override|not a run directory)\b"
)
ENDED = ("completed", "diverged")  # states of a run in its summary.json


class Verdict(verdict.Verdict):
    """The outcome of a case: `ran`, `refused` (in one line), `interrupted` (while running), or the kind of failure."""

    GOOD = ("ran", "refused", "interrupted")

    @property
    def known(self) -> str:
        """Reason of a known failure; there are none."""
        return ""


def judge(case: Case, status: int, output: str, errors: str) -> str:
    """Return the name of the verdict on a case that has ended."""
    if "Traceback (most recent call last)" in output + errors:
        return "traceback"
    if status == 0 or (status == 3 and case.script in ("diagnose", "weight_decay")):
        return "ran"
    if status != 1:
        return f"status {status}"
    lines = [line for line in errors.splitlines() if line.strip()]
    messages = [line for line in lines if line.startswith("error:")]
    if len(messages) != 1:
        return "no one line"
    if len(lines) != 1:
        return "more lines"
    chosen = any(re.search(rf"(?<!\w){key_of(word)}(?!\w)", messages[0]) for word in case.choice)
    if not chosen and not any(names(word, messages[0]) for word in case.odd or case.words):
        return "names nothing"
    return "refused" if ALLOWED.search(messages[0]) else "says not what is allowed"


def names(word: str, line: str) -> bool:
    """Return whether a line mentions the setting and the value of a command-line word.

    A setting `group.….key` is mentioned by its first and its last part; a word that is not `key=value` by itself.
    """
    if word in line:
        return True
    key, equals, value = key_of(word), *word.partition("=")[1:]
    parts = [part for part in re.split(r"[.]", key) if part] or [word]
    referring = re.match(rf"error: [\w.]+\.{re.escape(parts[-1])} = ", line)  # a setting whose value is this one
    patterns = [rf"(?<!\w){re.escape(part)}(?!\w)" for part in {parts[0], parts[-1]}]
    if not referring and not all(re.search(pattern, line) for pattern in patterns):
        return False
    return not equals or word.startswith("~") or any(text in line for text in texts(value))


def texts(value: str) -> set[str]:
    """Return the forms in which a message may show the value of an override."""
    try:
        parsed = _parse(f"key={value}").value()
    except HydraException:  # refused as it is
        return {value}
    parsed = parsed.text if isinstance(parsed, QuotedString) else parsed
    numbers = {f"{parsed:g}", f"{parsed:.0f}"} if isinstance(parsed, float | int) else set()
    entries = {str(entry) for entry in parsed} if isinstance(parsed, list | dict) else set()
    return {value, str(parsed), repr(parsed), *numbers, *entries} - {""} or {f"= {value}", "''"}


def not_right(case: Case, place: Path) -> str:
    """Return what is wrong with the summaries of the runs of a case that ended with status 0; empty: nothing."""
    files = [path for path in place.rglob("summary.json") if path.relative_to(place).parts[0] != "other"]
    summaries = [json.loads(path.read_text()) for path in files]
    if bad := [summary["status"] for summary in summaries if summary["status"] not in ENDED]:
        return f"a run that is {bad[0]}"
    if case.script == "train" and not any(summary["steps"] for summary in summaries) and "--" not in str(case.odd):
        return "no steps"
    return ""


def hashes(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def try_case(case: Case, other: Path, seconds: float) -> Verdict:
    """Run a case in a directory with a copy of another run, and judge how it ends."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        place = Path(scratch)
        subprocess.run(["cp", "-r", str(other), str(place / "other")], check=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA_", "WANDB_"))}
        environment = {**inherited, "DATA_DIR": str(place / "data"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        before = hashes(place / "other")
        script = str(SCRIPTS / f"{case.script}.py")
        process = forked.start(LIMITED, script, *case.words, cwd=place, env=environment, new_session=True)
        try:
            name = judge(case, process.wait(seconds), process.stdout, process.stderr)
            if name == "ran":
                name = not_right(case, place) or name
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
    """Send Ctrl-C to a job that is still running, and return the name of the verdict."""
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
    """Return a table of the number of cases of each script with each verdict; known failures have separate columns."""
    counts = Counter(
        (verdict.case.script, f"known: {verdict.name}" if verdict.known else verdict.name) for verdict in verdicts
    )
    columns = sorted({name for _, name in counts})
    lines = [f"{'script':15}" + "".join(f"{name:>{max(len(name), 8) + 2}}" for name in columns)]
    for script in sorted({script for script, _ in counts}):
        cells = "".join(f"{counts[script, name]:>{max(len(name), 8) + 2}}" for name in columns)
        lines.append(f"{script:15}{cells}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py fuzz", description=__doc__.splitlines()[0])
    scripts: Mapping[str, Any] = {**TINY, **TYPED}
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases (0)")
    parser.add_argument("--count", type=int, default=2000, help="number of cases (2000)")
    parser.add_argument("--script", choices=sorted(scripts), action="append", help="only cases of this script")
    parser.add_argument("--seconds", type=float, default=60, help="seconds after which a job is interrupted (60)")
    parser.add_argument("--minutes", type=float, default=600, help="minutes after which no case begins (600)")
    parser.add_argument("--ran", action="store_true", help="also print the cases that ran, to see whether they may")
    parser.add_argument("--workers", type=int, default=2, help="number of cases at a time (2)")
    options = parse(parser, arguments)
    cases = draw_cases(options.script or sorted(scripts), seed=options.seed, count=options.count)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        with redirect_stdout(None):
            other = start("train", Path(scratch) / "other", "trainer.max_epochs=1")
        verdicts = try_all(
            cases,
            lambda case: try_case(case, other, options.seconds),
            workers=options.workers,
            minutes=options.minutes,
        )
    for case in [one.case for one in verdicts if one.name == "ran"] if options.ran else ():
        print(f"ran: {case.script} {shlex.join(case.choice + case.odd)}")
    print(f"\n{table(verdicts)}\n")
    return exit_status(verdicts, "cases")
