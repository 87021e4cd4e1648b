"""Each tutorial runs from its first line to its last one, in a directory of its own, and prints what it shows."""

import os
import re
import shlex
from pathlib import Path

import pytest

from tests import forked

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
ENVIRONMENT = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-+]\d+)?")


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the text of each code block of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def follow(page: str, directory: Path) -> list[str]:
    """Do what a page says; return the lines that it shows and that were not printed.

    A block that begins with a comment such as `# my_nets.py` is a file. A block `bash` is run line by line. A block
    `text` is what this has printed: see `not_shown`.
    """
    printed, missing = "", []
    for language, text in blocks(page):
        if named := re.match(r"# ([\w/.]+\.(?:py|yaml))\n", text):
            file = directory / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif language == "bash":
            printed = "".join(run(line, directory) for line in text.splitlines())
        elif language == "text":
            missing += not_shown(text, printed)
        else:
            raise AssertionError(f"a block that is neither run nor shown: {text}")
    return missing


def run(command: str, directory: Path) -> str:
    """What `uv run …` prints; it has to end with status 0."""
    tool, what, program, *arguments = shlex.split(command)
    assert (tool, what) == ("uv", "run")
    if program == "start-training":
        script = str(ROOT / "src" / "cli" / "__main__.py")
    else:
        name, *arguments = arguments
        script = str(ROOT / name if name.startswith("scripts/") else directory / name)
    finished = forked.run(script, *arguments, cwd=directory, env={**ENVIRONMENT, "PYTHONPATH": str(directory)})
    assert finished.returncode == 0, f"{command}\n{finished.stdout}{finished.stderr}"
    return finished.stdout + finished.stderr


def not_shown(text: str, printed: str) -> list[str]:
    """The lines of a text that do not stand in what was printed, in their order.

    `…` is any text. Numbers that are whole are as shown; others may differ, as between machines.
    """
    lines, missing = [" ".join(line.split()) for line in printed.splitlines()], []
    for line in text.splitlines():
        pattern = re.compile(".*".join(map(_any_numbers, " ".join(line.split()).split("…"))))
        found = next((number for number, shown in enumerate(lines) if pattern.search(shown)), None)
        missing += [line] if found is None else []
        lines = lines if found is None else lines[found + 1 :]
    return missing


def _any_numbers(text: str) -> str:
    parts = re.split(f"({NUMBER.pattern})", text)
    return "".join(NUMBER.pattern if NUMBER.fullmatch(part) and "." in part else re.escape(part) for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_and_prints_what_it_shows(tutorial, tmp_path):
    assert not follow(tutorial.read_text(), tmp_path)


def test_what_is_not_printed_is_found():
    assert not not_shown("completed 12\nloss 0.25 …\n", "a\ncompleted   12 of 12\nb\nloss 1.5e-3 in 3 s\n")
    assert not_shown("completed 12\n", "completed 11\n") == ["completed 12\n".strip()]
    assert not_shown("second\nfirst\n", "first\nsecond\n") == ["first"]


def test_each_tutorial_says_where_to_go_next():
    assert len(TUTORIALS) >= 6
    for tutorial in TUTORIALS:
        assert "**Next**" in tutorial.read_text() and "bash" in dict(blocks(tutorial.read_text()))
