"""Kill a script by SIGKILL at a named step of what it does in a folder, with no hook in the source.

Python raises an audit event before it opens, renames, makes, removes or locks a file. A step is the n-th time that a
process does the same to the same file: ("rename run/config.yaml", 1). What C++ writes (Parquet's parts) shows when it
is renamed. Processes that the script starts have the hook from a sitecustomize module, which Python imports first.
"""

import contextlib
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.forked import Forked

ROOT = Path(__file__).parents[1]

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
VERBS = {"open": "open", "os.rename": "rename", "os.mkdir": "mkdir", "os.remove": "remove", "os.rmdir": "rmdir",
         "fcntl.flock": "lock"}  # fmt: skip
RANDOM = re.compile(r"(?<=[.]replicas-)[^/]+|(?<=json[.])\d+(?=[.]partial)")  # parts of names, new each time


class Step(NamedTuple):
    """What is done to which file, by its name in the folder, and for which time."""

    name: str
    nth: int = 1


class Killed(NamedTuple):
    """Where a process is to kill itself: before the step, or once it is done."""

    step: Step
    after: bool = False


def start_killed(folder: Path, *arguments: str, at: Killed | None = None, log: Path | None = None) -> "Forked":
    """Start scripts/train.py. The first process that comes to the step within the folder is killed there.

    log: a file for all steps and who takes them, of this process and those that it starts.
    """
    from tests.forked import UNDRAWN, start  # here: a process that has but the hook starts none

    hooks = folder.parent / f"{folder.name}-hooks"
    if not hooks.exists():
        hooks.mkdir(parents=True)
        (hooks / "sitecustomize.py").write_text("from tests.kill_at import install\ninstall()\n")
    done = hooks / f"killed-{len(list(hooks.iterdir()))}"
    killed = {"KILL_AT": f"{at.step.nth} {at.step.name}", "KILL_AFTER": "1" * at.after} if at else {}
    killed |= {"KILL_WITHIN": str(folder.resolve()), "KILL_LOG": str(log or ""), "KILL_DONE": str(done)}
    path = os.pathsep.join([str(hooks), str(ROOT)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, UNDRAWN: "1", **killed}
    return start(Path(__file__), *arguments, env=environment, new_session=True)


def read_steps(log: Path) -> list[tuple[int, Step]]:
    """The steps of a log, in their order, and the process ids that took them."""
    lines = (line.split(" ", 2) for line in log.read_text().splitlines())
    return [(int(pid), Step(name, int(nth))) for pid, nth, name in lines]


def install() -> None:
    """Have this process kill itself at the step that its environment names, and write its steps in the log."""
    nth, _, step = os.environ.get("KILL_AT", "0 ").partition(" ")
    at = Killed(Step(step, int(nth)), bool(os.environ.get("KILL_AFTER")))
    folder, log = os.environ["KILL_WITHIN"], os.environ["KILL_LOG"]
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
                    file.write(f"{os.getpid()} {counts[name]} {name}\n")
            if at.step == (name, counts[name]):
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(os.environ["KILL_DONE"], os.O_CREAT | os.O_EXCL))
                    if at.after:
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
    within = arguments[folder] if folder is not None else -1
    return os.path.join(os.readlink(f"/proc/self/fd/{within}") if within >= 0 else os.getcwd(), os.fsdecode(path))


def _do(event: str, arguments: tuple) -> None:
    """What the process is about to do: it dies before it could do it again."""
    with contextlib.suppress(OSError):
        if event == "open" and isinstance(arguments[0], int):
            return  # a file object for a file that is open already
        if event == "open":
            os.open(arguments[0], arguments[2], 0o666)
        elif event == "os.rename":
            os.rename(*arguments[:2])
        elif event != "fcntl.flock":
            {"os.mkdir": os.mkdir, "os.remove": os.remove, "os.rmdir": os.rmdir}[event](_written(event, arguments))


if __name__ == "__main__":
    from start_training.cli.commands import main

    install()
    main("train")
