"""Kill a script by SIGKILL at a named step of what it does in a folder, with no hook in the source.

Python raises an audit event before it opens, renames, makes, removes or locks a file. A step is the n-th time that a
process does the same to the same file: ("rename run/config.yaml", 1). What C++ writes (Parquet's parts) shows when it
is renamed. As a script, `train.py` in place of scripts/train.py, so that launchers start their jobs by it, too.
"""

import contextlib
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, os.environ["KILL_ROOT"])

from tests.forked import Forked, start

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
VERBS = {"open": "open", "os.rename": "rename", "os.mkdir": "mkdir", "os.remove": "remove", "os.rmdir": "rmdir",
         "fcntl.flock": "lock"}  # fmt: skip
RANDOM = re.compile(r"(?<=[.]replicas-)[^/]+|(?<=json[.])\d+(?=[.]partial)")  # parts of names, new each time


class Step(NamedTuple):
    """What is done to which file, by its name in the folder, and for which time."""

    name: str
    nth: int = 1


def start_killed(
    folder: Path, *arguments: str, at: Step | None = None, when: str = "before", log: Path | None = None
) -> Forked:
    """Start scripts/train.py, to be killed before or after a step within the folder; log: a file for all steps."""
    script = folder.parent / f"{folder.name}-script" / "train.py"
    if not script.exists():
        script.parent.mkdir()
        script.write_text(Path(__file__).read_text())
    root = str(Path(__file__).parents[1])
    variables = {"KILL_ROOT": root, "KILL_WITHIN": str(folder.resolve()), "KILL_WHEN": when, "KILL_LOG": str(log or "")}
    variables |= {"KILL_AT": f"{at.nth} {at.name}"} if at else {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, **variables}
    return start(script, *arguments, env=environment, new_session=True)


def steps(folder: Path, *arguments: str) -> list[Step]:
    """Those of a script that nobody kills, in their order; of processes side by side, as they came."""
    log = folder.parent / f"{folder.name}.steps"
    process = start_killed(folder, *arguments, log=log)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    numbered = (line.split(" ", 1) for line in log.read_text().splitlines())
    return [Step(name, int(nth)) for nth, name in numbered]


def _install(folder: str, when: str, log: str, at: Step | None) -> None:
    """Have this process kill itself at the step, and write its steps in the log."""
    counts: Counter[str] = Counter()
    busy = False

    def hook(event: str, arguments: tuple) -> None:
        nonlocal busy
        if busy or event not in VERBS:
            return
        busy = True  # what this does raises events itself
        try:
            path = _written(event, arguments)
            if path is None or not path.startswith(folder + os.sep):
                return
            name = f"{VERBS[event]} {RANDOM.sub('*', path[len(folder) + 1 :])}"
            counts[name] += 1
            if log:
                with open(log, "a") as file:
                    file.write(f"{counts[name]} {name}\n")
            if at == (name, counts[name]):
                if when == "after":
                    _do(event, arguments)
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            busy = False

    sys.addaudithook(hook)


def _written(event: str, arguments: tuple) -> str | None:
    """The file that an event is about, if it may change; of a renaming, what it is called then."""
    if event == "open" and not arguments[2] & WRITES:
        return None
    path = arguments[1] if event == "os.rename" else arguments[0]
    folder = {"os.rename": 3, "os.mkdir": 2, "os.remove": 1, "os.rmdir": 1}.get(event)
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    within = arguments[folder] if folder is not None and folder < len(arguments) else -1
    return os.path.join(os.readlink(f"/proc/self/fd/{within}") if within >= 0 else os.getcwd(), os.fsdecode(path))


def _do(event: str, arguments: tuple) -> None:
    """What the process is about to do: it dies before it could do it again."""
    with contextlib.suppress(OSError):
        if event == "open":
            os.open(arguments[0], arguments[2], 0o666)
        elif event == "os.rename":
            os.rename(*arguments[:2])
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            getattr(os, VERBS[event].replace("remove", "unlink"))(_written(event, arguments))


if __name__ == "__main__":
    from matplotlib.figure import Figure

    from scripts.train import main
    from src.jobs import report
    from src.jobs.command_line import run

    nth, _, name = os.environ.get("KILL_AT", "0 ").partition(" ")
    _install(os.environ["KILL_WITHIN"], os.environ["KILL_WHEN"], os.environ["KILL_LOG"], Step(name, int(nth)))
    report.figure = lambda *_: Figure(figsize=(0.1, 0.1))  # a run's figure takes longer to draw than it to train
    os.environ["HYDRA_MAIN_MODULE"] = "__main__"
    run(main)
