"""scripts/train.py, leaving a trace of who wrote in which run directory, and of what should not have been.

With TRACE, a folder: a file for each run directory, a line for each event. With UNLOCKED, runs are not kept apart.
"""

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from src.runs import directory
from src.runs.directory import RunDirectory

NAME = "train.py"  # what this file is to be called, so that launchers start it in place of scripts/train.py
begin, write_summary, release = RunDirectory.begin, RunDirectory.write_summary, RunDirectory.release
writing: set[Path] = set()


def events(run: Path) -> list[dict[str, Any]]:
    file = Path(os.environ["TRACE"], run.name)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def note(run: RunDirectory, event: str) -> None:
    with Path(os.environ["TRACE"], run.path.name).open("a") as file:
        file.write(json.dumps({"event": event, "pid": os.getpid()}) + "\n")


def writers(run: Path) -> set[int]:
    """The living processes that write there."""
    pids: set[int] = set()
    for event in events(run):
        if event["event"] == "begin":
            pids.add(event["pid"])
        elif event["event"] == "end":
            pids.discard(event["pid"])
    return {pid for pid in pids if lives(pid)}


def lives(pid: int) -> bool:
    """Whether it is there, and more than an entry that nobody has read yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def traced_begin(self: RunDirectory, config: Mapping[str, Any], **settings: Any) -> None:
    self.claim(config)
    if self.finished:
        note(self, "again")
    if writers(self.path) - {os.getpid()}:
        note(self, "overlap")
    note(self, "begin")
    writing.add(self.path)
    begin(self, config, **settings)


def traced_summary(self: RunDirectory, summary: Mapping[str, Any]) -> None:
    write_summary(self, summary)
    note(self, str(summary["status"]))


def traced_release(self: RunDirectory) -> None:
    if self.path in writing:
        writing.remove(self.path)
        note(self, "end")
    release(self)


if "TRACE" in os.environ:  # in what the tests start, and its workers; not in the tests themselves
    RunDirectory.begin, RunDirectory.write_summary, RunDirectory.release = traced_begin, traced_summary, traced_release
if "UNLOCKED" in os.environ:
    directory._takes = lambda *_, **__: True

if __name__ == "__main__":
    from scripts.train import main
    from src.jobs import hydra_job
    from src.jobs.command_line import run

    hydra_job.train_group = partial(hydra_job.train_group, checkpoint_seconds=1)  # a checkpoint every second
    os.environ["HYDRA_MAIN_MODULE"] = "__main__"
    run(main)
